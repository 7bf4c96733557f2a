import type { Asked, Machine, Measure, Tensors } from './machine.ts'
import { statesAt } from './predictions.ts'

/** Final hidden states before the head, (B·T,D) row-major, padding included; for embeddings and checks on small inputs. */
export const hiddenStates: Measure<unknown, Float32Array> = {
  measure: (machine, asked) => collect(machine, asked, async ({ hidden }) => (await machine.read(hidden!)).slice()),
}

/** Logits of every position, or one row of classes for each row, row-major: (B·T,V) or (B,C); for checks on small inputs. */
export const logits: Measure<unknown, Float32Array> = {
  measure(machine, asked) {
    const { readsFirst } = machine.head('logits')
    return collect(machine, asked, async ({ hidden }) => {
      const [rows, tokens] = hidden!.dims as [number, number]
      const states = await machine.read(hidden!)
      const positions = Int32Array.from({ length: rows }, (_, row) => row * tokens)
      const values = readsFirst ? statesAt(states, machine.width, positions) : states
      const count = values.length / machine.width
      return machine.runHead('logits', count, { hidden: { type: 'float32', values, dims: [count, machine.width] } })
    })
  },
}

/** For each plan what `of` makes of the final states of every micro-batch, one behind the other. */
async function collect(
  machine: Machine,
  { rows, plans, prefix, signal }: Asked<unknown>,
  of: (tensors: Tensors) => Promise<Float32Array>,
): Promise<Float32Array[]> {
  const parts = plans.map((): Float32Array[] => [])
  await machine.walk(
    { rows, plans, prefix, signal },
    {
      async arrive(arrived, _, state) {
        for (const tensors of state) {
          const part = await of(tensors)
          for (const plan of arrived) parts[plan]!.push(part)
        }
      },
    },
  )
  return parts.map(concatenated)
}

function concatenated(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((total, { length }) => total + length, 0))
  let written = 0
  for (const part of parts) {
    whole.set(part, written)
    written += part.length
  }
  return whole
}
