import type { RopeForm } from '../model/forms.ts'

/** (T,R/2) `wave` of position · frequency; the angle is a float32 product, as the reference implementations compute it. */
export function rotaryTable(rope: RopeForm, tokens: number, wave: (angle: number) => number) {
  const { magnitude = 1 } = rope
  const inverseFrequencies = frequenciesOf(rope, tokens)
  const half = inverseFrequencies.length
  const table = new Float32Array(tokens * half)
  for (let t = 0; t < tokens; t++) {
    for (let i = 0; i < half; i++) {
      table[t * half + i] = wave(Math.fround(t * Math.fround(inverseFrequencies[i]!))) * magnitude
    }
  }
  return table
}

/** Those that turn rows of `tokens`. */
function frequenciesOf({ inverseFrequencies, long, dynamic }: RopeForm, tokens: number): readonly number[] {
  if (long !== undefined && tokens > long.beyond) return long.inverseFrequencies
  if (dynamic === undefined || tokens <= dynamic.beyond) return inverseFrequencies
  const { beyond, base, factor } = dynamic
  const turning = 2 * inverseFrequencies.length
  const stretched = base * ((factor * tokens) / beyond - factor + 1) ** (turning / (turning - 2))
  return inverseFrequencies.map((_, i) => stretched ** ((-2 * i) / turning))
}

/** (T,D): sin(t · f) in the first half, cos(t · f) in the second, f = 10000^(-2i/D). */
export function sinusoidTable(width: number, tokens: number) {
  const half = width / 2
  const table = new Float32Array(tokens * width)
  for (let t = 0; t < tokens; t++) {
    for (let i = 0; i < half; i++) {
      const angle = t / 10000 ** ((2 * i) / width)
      table[t * width + i] = Math.sin(angle)
      table[t * width + half + i] = Math.cos(angle)
    }
  }
  return table
}
