import { loadModel } from '../model/load.ts'
import { checkPlan, emptyPlan } from '../model/plan.ts'
import { type ConsumerResult, describeResult, verifyExport } from '../verify/verifyExport.ts'
import { checkSameModel, planOfSteps } from './applyPlanFile.ts'
import { type RowsRequest, readRows } from './calibrate.ts'
import { readPlanFile } from './planFile.ts'

export interface VerifyRequest {
  /** The export: a folder or a .gguf file. */
  readonly path: string
  /** The dense model that it was made from. */
  readonly model: string
  readonly revision?: string | undefined
  readonly plan?: string | undefined
  readonly steps?: number | undefined
  readonly allowOtherModel?: boolean | undefined
  readonly rows: RowsRequest
  /** Called with a line for each consumer as soon as it has answered. */
  readonly onConsumer?: ((line: string) => void) | undefined
}

/** Opens an export in every consumer that is installed and compares its predictions with the plan evaluated by our engine. */
export async function verifyModel(request: VerifyRequest): Promise<ConsumerResult[]> {
  const model = await loadModel(request.model, { revision: request.revision })
  try {
    const file = request.plan === undefined ? undefined : await readPlanFile(request.plan)
    if (file !== undefined && !request.allowOtherModel) await checkSameModel(model, file, request.plan!)
    const plan = file === undefined ? emptyPlan : planOfSteps(file, request.steps)
    checkPlan(model, plan)
    const rows = await readRows(model, { ...request.rows, task: request.rows.task ?? file?.task })
    return await verifyExport(request.path, model, plan, rows, {
      onResult: (result) => request.onConsumer?.(describeResult(result)),
    })
  } finally {
    await model.weights.close()
  }
}
