import { perplexityBeside } from '../objectives/perplexity.ts'
import type { PruningPlan, PruningStep, RowObjective, StopSignal } from '../types.ts'

/** What a step is worth on rows that the search does not see. */
export interface CheckedStep {
  readonly loss: number
  /** exp(loss), where the loss is of the next token. */
  readonly perplexity?: number | undefined
  /** Of the model with the runner-up removed instead. */
  readonly runnerUpLoss?: number | undefined
  /** The curves part here. */
  readonly parted?: true | undefined
}

/**
 * A guard against fitting the calibration text: measures a step on check rows, and where it has a runner-up that one as well. The
 * curves of search and check rows part at a step when, with d_r = loss of the step − loss of the runner-up on check row r,
 *
 *     mean(d) > 2 · sd(d)/√n
 *
 * that is, when the search preferred what is clearly worse elsewhere. Needs two check rows to say so.
 */
export async function checkStep(check: RowObjective, step: PruningStep, signal?: StopSignal): Promise<CheckedStep> {
  const rival = runnerUpPlan(step)
  const [own, other] = await check.evaluateRows(rival === undefined ? [step.plan] : [step.plan, rival], { signal })
  const loss = check.combine(own!)
  return {
    loss,
    ...perplexityBeside(loss, check),
    ...(other && { runnerUpLoss: check.combine(other) }),
    ...(other && isClearlyWorse(own!, other) && { parted: true }),
  }
}

/** Says where the curves part: for people. */
export function partedMessage(step: number, { removed }: PruningStep, { loss, runnerUpLoss }: CheckedStep): string {
  return (
    `step ${step} (${removed.join(' ')}): on the check rows its loss ${loss.toFixed(4)} is worse than the runner-up's ` +
    `${runnerUpLoss?.toFixed(4)} by more than two standard errors; the search begins to fit the calibration text, take more rows or stop before`
  )
}

function runnerUpPlan({ plan, removed, restored, runnerUp }: PruningStep): PruningPlan | undefined {
  if (runnerUp === undefined || restored !== undefined) return undefined
  const before = plan.blocks.filter((id) => !removed.includes(id))
  return { ...plan, blocks: [...before, runnerUp.block, ...(runnerUp.others ?? [])] }
}

function isClearlyWorse(values: Float64Array, others: Float64Array): boolean {
  const d = [...values].map((value, row) => value - others[row]!).filter((difference) => !Number.isNaN(difference))
  if (d.length < 2) return false
  const mean = d.reduce((total, value) => total + value, 0) / d.length
  const variance = d.reduce((total, value) => total + (value - mean) ** 2, 0) / (d.length - 1)
  return mean > 2 * Math.sqrt(variance / d.length)
}
