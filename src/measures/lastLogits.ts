import { EngineError } from '../errors.ts'
import type { Asked, Machine, Measure } from './machine.ts'
import { headParts } from './machine.ts'
import { statesAt } from './predictions.ts'

/**
 * Logits of the last token of each row, before its padding, row-major: (B,V), float32. What the next token of a decoder is drawn
 * from. Rejects with `EngineError` for other models, and with `UnsupportedModelError` for a decoder without a head.
 */
export const lastLogits: Measure<unknown, Float32Array> = {
  async measure(machine, asked) {
    const { model, vocabulary } = machine
    if (model.architecture.family !== 'decoder') {
      throw new EngineError(
        `${model.id}: predicts no next token, expected a decoder; ask for the logits of all positions`,
      )
    }
    machine.head('logits')
    const found = asked.plans.map(() => new Float32Array(asked.rows.rows * vocabulary))
    const { rows, plans, prefix, signal } = asked
    await machine.walk(
      { rows, plans, prefix, signal },
      {
        async arrive(arrived, { batches }, state) {
          for (const [i, { first, rows: count }] of batches.entries()) {
            const positions = lastPositions(asked, first, count)
            const states = statesAt(await machine.read(state[i]!['hidden']!), machine.width, positions)
            const logits = await logitsOf(machine, states, count)
            for (const plan of arrived) found[plan]!.set(logits, first * vocabulary)
          }
        },
      },
    )
    return found
  },
}

/** Where rows `first` to `first + count` end, counted through their micro-batch. */
function lastPositions({ rows: { lengths, rowLength } }: Asked<unknown>, first: number, count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, row) => row * rowLength + (lengths?.[first + row] ?? rowLength) - 1)
}

/** The head on `count` states (N,D): (N,V), in pieces that fit. */
async function logitsOf(machine: Machine, states: Float32Array<ArrayBuffer>, count: number): Promise<Float32Array> {
  const { width, vocabulary } = machine
  const logits = new Float32Array(count * vocabulary)
  for (const [start, end] of headParts(count, vocabulary, 1)) {
    const values = states.subarray(start * width, end * width)
    const hidden = { type: 'float32', values, dims: [end - start, width] } as const
    logits.set(await machine.runHead('logits', end - start, { hidden }), start * vocabulary)
  }
  return logits
}
