import { openEngine } from '../engine/engine.ts'
import { OutputError } from '../errors.ts'
import { exportHuggingFace, type HuggingFaceExport, type HuggingFaceExportOptions } from '../export/huggingface.ts'
import { openModel } from '../model/load.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan } from '../model/plan.ts'
import type { Engine, Objective, PruningPlan } from '../types.ts'

/** Relative difference of two perplexities that different layouts of the same arithmetic may show. */
const tolerance = 1e-4

export interface CheckedExport extends HuggingFaceExport {
  /** Perplexity of the export as our own reader opens it again. */
  readonly perplexity: number
  readonly relativeDifference: number
}

/**
 * Writes the model without what `plan` removes to `directory`, opens it again and measures it. Throws `OutputError` when the
 * exponential of its loss, its perplexity, is not that of `expectedLoss` within 1e-4.
 */
export async function exportAndCheck(
  model: Model,
  plan: PruningPlan,
  directory: string,
  check: {
    /** The loss that is measured, of whatever model the engine holds. */
    readonly objective: (engine: Engine) => Objective
    readonly expectedLoss: number
    readonly threads?: number | undefined
  },
  options: HuggingFaceExportOptions = {},
): Promise<CheckedExport> {
  const written = await exportHuggingFace(model, plan, directory, options)
  const reopened = await openModel(directory, directory)
  const engine = openEngine(reopened, { threads: check.threads })
  try {
    const [loss = Number.NaN] = await check.objective(engine).evaluate([emptyPlan], options.signal)
    const relativeDifference = Math.abs(Math.exp(loss - check.expectedLoss) - 1)
    if (!(relativeDifference <= tolerance)) {
      throw new OutputError(
        `${directory}: reopened, its perplexity is ${Math.exp(loss)}, expected the plan's ${Math.exp(check.expectedLoss)} within ` +
          `${tolerance} relative; do not use this export, and report the model and the plan`,
      )
    }
    return { ...written, perplexity: Math.exp(loss), relativeDifference }
  } finally {
    await engine.close()
    await reopened.weights.close()
  }
}
