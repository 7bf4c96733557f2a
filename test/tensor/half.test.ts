import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { openSafetensors } from '../../src/format/safetensors/read.ts'
import {
  bfloat16ToFloat32,
  float16ToFloat32,
  float16Value,
  float32ToBfloat16,
  float32ToFloat16,
} from '../../src/tensor/half.ts'

const golden = fileURLToPath(new URL('../fixtures/safetensors/rounding.safetensors', import.meta.url))

const formats = [
  { name: 'bfloat16', widen: bfloat16ToFloat32, round: float32ToBfloat16, infinity: 0x7f80 },
  { name: 'float16', widen: float16ToFloat32, round: float32ToFloat16, infinity: 0x7c00 },
] as const

describe.each(formats)('$name', ({ name, widen, round, infinity }) => {
  const allBits = Uint16Array.from({ length: 65536 }, (_, i) => i)
  const all = widen(allBits)

  it('comes back as it was after widening, for every value', () => {
    const back = round(all)
    let numbers = 0
    for (let bits = 0; bits < 65536; bits++) {
      if (Number.isNaN(all[bits])) continue
      numbers++
      if (back[bits] !== bits) expect(back[bits], `bits ${bits}`).toBe(bits)
    }
    expect(numbers).toBe(2 * (infinity + 1))
  })

  it('keeps every NaN a NaN of the same sign', () => {
    const back = round(all)
    const again = widen(back)
    for (let bits = 0; bits < 65536; bits++) {
      if (!Number.isNaN(all[bits])) continue
      if (!Number.isNaN(again[bits])) expect.fail(`bits ${bits} came back as ${again[bits]}`)
    }
    // payload only in the bits that are dropped
    const low = new Float32Array(new Uint32Array([0x7f800001, 0xff800001]).buffer)
    expect(Array.from(round(low), (bits) => bits & infinity)).toEqual([infinity, infinity])
    expect(Array.from(widen(round(low)), Number.isNaN)).toEqual([true, true])
    expect(Array.from(round(low), (bits) => bits >> 15)).toEqual([0, 1])
  })

  it('rounds to the nearer neighbour and half way to the even one, between all neighbours', () => {
    let checked = 0
    for (let bits = 0; bits < infinity - 1; bits++) {
      // float32 has bits to spare between two halves, so the middle and its neighbours are exact
      const middle = Math.fround((all[bits]! + all[bits + 1]!) / 2)
      const [below, , above] = neighbours(middle)
      const even = (bits & 1) === 0 ? bits : bits + 1
      const found = round(Float32Array.of(below!, middle, above!, -below!, -middle, -above!))
      const expected = [bits, even, bits + 1, bits, even, bits + 1].map((b, i) => (i < 3 ? b : b | 0x8000))
      if (found.some((b, i) => b !== expected[i])) expect(Array.from(found), `after bits ${bits}`).toEqual(expected)
      checked++
    }
    expect(checked).toBe(infinity - 1)
  })

  it('overflows to infinity half way to the power of two above the largest', () => {
    const largest = all[infinity - 1]!
    const step = largest - all[infinity - 2]!
    const [below, middle] = neighbours(Math.fround(largest + step / 2))
    const values = Float32Array.of(below!, middle!, 3.4028234663852886e38, -middle!)
    expect(Array.from(round(values))).toEqual([infinity - 1, infinity, infinity, infinity | 0x8000])
  })

  it('rounds as PyTorch does', async () => {
    const store = await openSafetensors(golden)
    const input = await store.read('float32')
    const expected = new Uint16Array((await store.readBytes(name)).buffer)
    await store.close()
    const found = round(input)
    expect(found.length).toBe(3112)
    const wrong = [...found.keys()].filter((i) => found[i] !== expected[i] && !Number.isNaN(input[i]))
    expect(wrong.map((i) => [input[i], found[i], expected[i]])).toEqual([])
  })

  it('reads a view that starts inside its buffer', () => {
    expect(Array.from(widen(round(Float32Array.of(9, 1.5, -2).subarray(1))))).toEqual([1.5, -2])
  })
})

it('has the values of the half format at its corners', () => {
  expect([0x0001, 0x03ff, 0x0400, 0x3c00, 0x7bff, 0x7c00, 0xc000].map(float16Value)).toEqual([
    2 ** -24,
    1023 * 2 ** -24,
    2 ** -14,
    1,
    65504,
    Number.POSITIVE_INFINITY,
    -2,
  ])
})

/** The float32 values next to `value`, with it in the middle. */
function neighbours(value: number): Float32Array {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0]!
  return new Float32Array(Uint32Array.of(bits - 1, bits, bits + 1).buffer)
}
