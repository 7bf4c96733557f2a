import type { Stage } from '../graph/program.ts'
import type { Model } from '../model/model.ts'
import { biasDigest, decodeBias, outputBiasesOf } from '../model/outputBias.ts'
import { emptyPlan } from '../model/plan.ts'
import type { BlockId, PruningPlan } from '../types.ts'

/** What a plan does to a stage that it runs. The same object wherever the same is done to a block. */
export interface Edit {
  /** Units that go, in ascending order. */
  readonly removed: readonly number[]
  /** Added to the output of the branch, (D). */
  readonly bias: Float32Array<ArrayBuffer> | undefined
  /** The branch is gone, and the norm behind it stays: x ← norm(x). */
  readonly normOnly: boolean
}

/** What is done to a stage that a plan leaves as it is. */
export const untouched: Edit = { removed: [], bias: undefined, normOnly: false }

const normOnly: Edit = { removed: [], bias: undefined, normOnly: true }

/** Edits by the plans that make them. */
export interface Edits {
  /** What each of `stages` becomes by `plan`; undefined where the plan leaves it out. */
  of(plan: PruningPlan, stages: readonly Stage[]): (Edit | undefined)[]
  /** How many different edits are known. */
  readonly size: number
  /** Forgets all: edits of plans before and after are different objects. */
  clear(): void
}

/** Interns the edits of the plans of `model`. */
export function internedEdits(model: Model): Edits {
  const units = new Map(model.blocks.map((block) => [block.id, block.units]))
  const known = new Map<string, Edit>()

  function intern(id: BlockId, removed: readonly number[], biasText: string | undefined): Edit {
    const digest = biasText === undefined ? '' : biasDigest({ ...emptyPlan, outputBiases: { [id]: biasText } })!
    const sorted = removed.toSorted((a, b) => a - b)
    const key = `${id} ${sorted}#${digest}`
    const edit = known.get(key) ?? {
      removed: sorted,
      bias: biasText === undefined ? undefined : decodeBias(biasText),
      normOnly: false,
    }
    known.set(key, edit)
    return edit
  }

  return {
    of(plan, stages) {
      const gone = new Set<string>(plan.blocks)
      const biases = new Map(outputBiasesOf(plan))
      return stages.map(({ block, bareNorm }) => {
        if (block === undefined) return untouched
        const { id } = block
        const removed = plan.units[id] ?? []
        if (gone.has(id) || (removed.length > 0 && removed.length === units.get(id))) {
          return bareNorm === undefined || plan.outputNorms === 'drop' ? undefined : normOnly
        }
        return removed.length === 0 && !biases.has(id) ? untouched : intern(id, removed, biases.get(id))
      })
    },
    get size() {
      return known.size
    },
    clear: () => known.clear(),
  }
}
