import { type EngineOptions, openEngine } from '../engine/threadEngine.ts'
import { OutputError } from '../errors.ts'
import { exportHuggingFace, type HuggingFaceExport, type HuggingFaceExportOptions } from '../export/huggingface.ts'
import type { Engine } from '../measures/measurement.ts'
import { openModel } from '../model/load.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan } from '../model/plan.ts'
import type { Objective, PruningPlan } from '../types.ts'

/** Difference of two losses, which is the relative difference of their exponentials, that other layouts of the same arithmetic may show. */
const tolerance = 1e-4

export interface CheckedExport extends HuggingFaceExport {
  /** What was measured of the export as our own reader opens it again. */
  readonly loss: number
  /** How far that is from the plan's. */
  readonly difference: number
}

/**
 * Writes the model without what `plan` removes to `directory`, opens it again and measures it. Throws `OutputError` when its
 * loss is not `expectedLoss` within 1e-4.
 */
export async function exportAndCheck(
  model: Model,
  plan: PruningPlan,
  directory: string,
  check: {
    /** The loss that is measured, of whatever model the engine holds. */
    readonly objective: (engine: Engine) => Objective
    readonly expectedLoss: number
    readonly engine?: EngineOptions | undefined
  },
  options: HuggingFaceExportOptions = {},
): Promise<CheckedExport> {
  const written = await exportHuggingFace(model, plan, directory, options)
  const reopened = await openModel(directory, directory)
  const engine = openEngine(reopened, check.engine)
  try {
    const objective = check.objective(engine)
    const [loss = Number.NaN] = await objective.evaluate([emptyPlan], options.signal)
    const difference = Math.abs(loss - check.expectedLoss)
    if (!(difference <= tolerance)) {
      throw new OutputError(
        `${directory}: reopened, its loss is ${loss} ${objective.unit}, expected the plan's ${check.expectedLoss} within ` +
          `${tolerance}; do not use this export, and report the model and the plan`,
      )
    }
    return { ...written, loss, difference }
  } finally {
    await engine.close()
    await reopened.weights.close()
  }
}
