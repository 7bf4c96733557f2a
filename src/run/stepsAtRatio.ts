import { PlanError } from '../errors.ts'
import type { PlanFile } from './planFile.ts'

/** Which steps a ratio asks for: those whose share is nearest, the fewest that reach it, or the most that keep below it. */
export const ratioRules = ['nearest', 'at-least', 'at-most'] as const

export type RatioRule = (typeof ratioRules)[number]

/**
 * How many of the recorded steps of `file` remove `ratio`, 0..1, of all parameters by `rule`; 0: none. Of two as near the fewer. Throws
 * `PlanError` where the plan ends below what is asked for at least.
 */
export function stepsAtRatio(file: Pick<PlanFile, 'steps'>, ratio: number, rule: RatioRule): number {
  if (!(ratio >= 0 && ratio < 1))
    throw new PlanError(`--ratio ${ratio}: expected a share of the parameters, 0 to below 1`)
  const shares = [0, ...file.steps.map((step) => step.ratio)]
  const found = {
    nearest: () => {
      const distances = shares.map((share) => Math.abs(share - ratio))
      return distances.indexOf(Math.min(...distances))
    },
    'at-least': () => shares.findIndex((share) => share >= ratio),
    'at-most': () => shares.findLastIndex((share) => share <= ratio),
  }[rule]()
  if (found !== -1) return found
  throw new PlanError(
    `--ratio ${ratio}: the ${file.steps.length} steps of the plan remove at most ${Math.max(...shares).toFixed(3)} of the parameters; ask for less, or prune further`,
  )
}
