import type { PackedRows } from '../data/calibration.ts'
import { sharedPassage } from '../data/overlap.ts'
import { openEngine } from '../engine/engine.ts'
import { measurePerplexity, type PerplexityReport } from '../evaluate/perplexity.ts'
import { loadModel } from '../model/load.ts'
import { checkPlan, emptyPlan, removedParameters } from '../model/plan.ts'
import type { StopSignal } from '../types.ts'
import { checkSameModel, planOfSteps } from './applyPlanFile.ts'
import { type RowsRequest, readRows } from './calibrate.ts'
import { type PlanFile, readPlanFile } from './planFile.ts'

export interface EvaluateRequest {
  readonly model: string
  readonly revision?: string | undefined
  /** plan.json of a run; the dense model is measured beside it. */
  readonly plan?: string | undefined
  readonly steps?: number | undefined
  readonly allowOtherModel?: boolean | undefined
  readonly rows: RowsRequest
  readonly threads?: number | undefined
  readonly signal?: StopSignal | undefined
}

export interface EvaluateResult {
  readonly source: string
  readonly bos: 'none' | 'first' | 'every-row'
  /**
   * False when the text shares passages with the plan's calibration text; undefined without a plan, or when that text was too short or
   * too repetitive to tell.
   */
  readonly heldOut: boolean | undefined
  readonly dense: PerplexityReport
  readonly pruned: PerplexityReport | undefined
  readonly parameters: { readonly dense: number; readonly pruned: number | undefined }
}

/** Perplexities of a model, and of a plan's model beside it, on a text. */
export async function evaluateModel(request: EvaluateRequest): Promise<EvaluateResult> {
  const file = request.plan === undefined ? undefined : await readPlanFile(request.plan)
  const model = await loadModel(request.model, { revision: request.revision })
  const engine = openEngine(model, { threads: request.threads })
  try {
    if (file !== undefined && !request.allowOtherModel) await checkSameModel(model, file, request.plan!)
    const plan = file && planOfSteps(file, request.steps)
    if (plan !== undefined) checkPlan(model, plan)
    const rows = await readRows(model, request.rows)
    const measure = (of: typeof emptyPlan) => measurePerplexity(engine, rows, of, request.signal)
    return {
      source: rows.description.source,
      bos: rows.description.bos,
      heldOut: file && isHeldOut(file, rows),
      dense: await measure(emptyPlan),
      pruned: plan && (await measure(plan)),
      parameters: { dense: model.parameters, pruned: plan && model.parameters - removedParameters(model, plan) },
    }
  } finally {
    await engine.close()
    await model.weights.close()
  }
}

function isHeldOut({ calibration }: PlanFile, rows: PackedRows): boolean | undefined {
  if (calibration.fingerprints.length === 0) return undefined
  return sharedPassage(calibration.fingerprints, rows, rows.description.bos === 'every-row') === undefined
}
