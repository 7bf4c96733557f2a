import type { Handle } from '../device/device.ts'
import { emptyPlan } from '../model/plan.ts'
import type { Asked, Batch, Chunk, Machine } from './machine.ts'

/** How a measure makes one value a row from final hidden states. */
export interface RowFold<Options, Reference> {
  /** What every plan is compared with on the rows of a chunk, made once for each. */
  reference?(machine: Machine, asked: Asked<Options>, chunk: Chunk): Promise<readonly Reference[]>
  /** The values of the rows of `batch`, from its final hidden states (B,T,D) and the reference of the same micro-batch. */
  values(
    machine: Machine,
    asked: Asked<Options>,
    batch: Batch,
    hidden: Float32Array,
    reference: Reference | undefined,
  ): Promise<Float64Array>
}

/** Walks all plans and folds what arrives: one value a row for each plan. */
export async function foldRows<Options, Reference>(
  machine: Machine,
  asked: Asked<Options>,
  fold: RowFold<Options, Reference>,
): Promise<Float64Array[]> {
  const { rows, plans, onRows } = asked
  const values = plans.map(() => new Float64Array(rows.rows))
  let reference: readonly Reference[] | undefined
  await machine.walk(asked, {
    async chunk(chunk) {
      reference = await fold.reference?.(machine, asked, chunk)
    },
    async arrive(arrived, { batches }, state) {
      for (const [i, batch] of batches.entries()) {
        const hidden = await machine.read(hiddenOf(state[i]!))
        const found = await fold.values(machine, asked, batch, hidden, reference?.[i])
        for (const plan of arrived) values[plan]!.set(found, batch.first)
      }
      const { first, rows: count } = batches.at(-1)!
      if (first + count === rows.rows) for (const plan of arrived) onRows?.(plan, values[plan]!)
    },
  })
  return values
}

/** The final hidden states (B,T,D) of the dense model on the rows of a chunk, one array a micro-batch. */
export function denseStates<Options>(machine: Machine, asked: Asked<Options>, chunk: Chunk): Promise<Float32Array[]> {
  return machine.remember('denseStates', [asked.rows, chunk.start], async () => {
    const states: Float32Array[] = []
    await walkDense(machine, asked, chunk, async (hidden) => void states.push(hidden.slice()))
    return states
  })
}

/** Walks the dense model over one chunk of rows, and shows the final states of each micro-batch. */
export async function walkDense<Options>(
  machine: Machine,
  { rows, plans, prefix, signal }: Asked<Options>,
  chunk: Chunk,
  show: (hidden: Float32Array, batch: Batch) => Promise<void>,
): Promise<void> {
  // many plans follow on the same rows, most of which begin as the dense model does
  const along = prefix ?? (plans.length > 2 ? emptyPlan : undefined)
  await machine.walk(
    { rows, plans: [emptyPlan], prefix: along, signal, chunk },
    {
      async arrive(_, { batches }, state) {
        for (const [i, batch] of batches.entries()) await show(await machine.read(hiddenOf(state[i]!)), batch)
      },
    },
  )
}

function hiddenOf(tensors: Readonly<Record<string, Handle>>): Handle {
  return tensors['hidden']!
}
