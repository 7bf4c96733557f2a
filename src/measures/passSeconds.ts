import type { Machine, Measure, State } from './machine.ts'
import { statesAt } from './predictions.ts'

export interface PassSecondsOptions {
  /** From 1. */
  readonly repeats: number
}

/**
 * For each plan where the time of one forward pass of the rows goes, in seconds: first what every plan keeps (embedding, norms, the
 * head at one position a row, as when a prompt is read), then each block in forward order, 0 for one that does not run. Each is the
 * median of `repeats` passes, the plans taken in turn; a pass before those warms up. Nothing is shared between plans.
 */
export const passSeconds: Measure<PassSecondsOptions, Float64Array> = {
  async measure(machine, { rows, plans, options: { repeats }, signal }) {
    const places = new Map(machine.model.blocks.map(({ id }, i) => [id, i + 1]))
    const passes = plans.map((): Float64Array[] => [])
    for (let repeat = -1; repeat < repeats; repeat++) {
      for (const [i, plan] of plans.entries()) {
        const seconds = new Float64Array(1 + machine.model.blocks.length)
        let before = performance.now()
        const spent = (place: number) => {
          const now = performance.now()
          seconds[place]! += (now - before) / 1000
          before = now
        }
        await machine.walk(
          { rows, plans: [plan], signal, fewStates: true },
          {
            // making the rows' tensors is no part of a pass
            async chunk() {
              before = performance.now()
            },
            after: async ({ stage: { block } }) => spent((block && places.get(block.id)) ?? 0),
            async arrive(_, __, state) {
              await predictOnce(machine, state)
              spent(0)
            },
          },
        )
        if (repeat >= 0) passes[i]!.push(seconds)
      }
    }
    return passes.map((taken) => Float64Array.from(taken[0]!, (_, place) => median(taken.map((s) => s[place]!))))
  },
}

/** The head at the last position of each row, or the first where that predicts; nothing for a model without one. */
async function predictOnce(machine: Machine, state: State): Promise<void> {
  const { program, width } = machine
  if (program.heads === undefined) return
  const { readsFirst } = program.heads.logits
  for (const { hidden } of state) {
    const [rows, tokens] = hidden!.dims as [number, number]
    const positions = Int32Array.from({ length: rows }, (_, row) => row * tokens + (readsFirst ? 0 : tokens - 1))
    const values = statesAt(await machine.read(hidden!), width, positions)
    await machine.runHead('logits', rows, { hidden: { type: 'float32', values, dims: [rows, width] } })
  }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}
