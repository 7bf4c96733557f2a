import { testedOptions } from '../engine/chooseDevice.ts'
import { type EngineOptions, openEngine } from '../engine/threadEngine.ts'
import { OutputError, PlanError } from '../errors.ts'
import { planHash } from '../export/exportRecord.ts'
import type { Engine } from '../measures/measurement.ts'
import { loadModel } from '../model/load.ts'
import { emptyPlan } from '../model/plan.ts'
import { OtherPlanError } from '../verify/checkContents.ts'
import { type ConsumerResult, describeResult, verifyExport } from '../verify/verifyExport.ts'
import { type RowsRequest, readRows } from './calibrate.ts'
import { openPlan, planFor, planOfSteps } from './givenPlan.ts'
import type { PlanFile } from './planFile.ts'

export interface VerifyRequest extends EngineOptions {
  /** The export: a folder or a .gguf file. */
  readonly path: string
  /** The dense model that it was made from. */
  readonly model: string
  readonly revision?: string | undefined
  readonly plan?: string | undefined
  readonly steps?: number | undefined
  readonly allowOtherModel?: boolean | undefined
  readonly rows: RowsRequest
  /** Called with a line about the device, where it is not the CPU that was asked for. */
  readonly onDevice?: ((text: string) => void) | undefined
  /** Called with a line for each consumer as soon as it has answered. */
  readonly onConsumer?: ((line: string) => void) | undefined
}

/** Opens an export in every consumer that is installed and compares its predictions with the plan evaluated by our engine. */
export async function verifyModel(request: VerifyRequest): Promise<ConsumerResult[]> {
  const source = request.plan === undefined ? undefined : await openPlan(request.plan)
  const file = source?.file
  const model = await loadModel(request.model, { revision: request.revision })
  let engine: Engine | undefined
  try {
    const plan = source === undefined ? emptyPlan : await planFor(model, source, request)
    const rows = await readRows(model, { ...request.rows, task: request.rows.task ?? file?.task })
    engine = openEngine(model, await testedOptions(model, request, request.onDevice))
    return await verifyExport(request.path, model, plan, rows, {
      engine,
      allowOtherModel: request.allowOtherModel,
      onContents: request.onConsumer,
      onResult: (result) => request.onConsumer?.(describeResult(result)),
    })
  } catch (error) {
    if (!(error instanceof OtherPlanError)) throw error
    throw new OutputError(`${error.message}; ${cureOf(error.planSha256, file)}`, { cause: error })
  } finally {
    await engine?.close()
    await model.weights.close()
  }
}

/** What to do about an export of another plan than the one asked for: of other steps of the same file, or of none. */
function cureOf(planSha256: string, file: PlanFile | undefined): string {
  if (planSha256 === planHash(emptyPlan)) return 'it is that of the whole model: verify it without --plan'
  const steps = file === undefined ? [] : file.steps.map((_, i) => i + 1)
  const made = steps.find((step) => {
    try {
      return planHash(planOfSteps(file!, step)) === planSha256
    } catch (error) {
      // the steps of a plan that removed units are not kept
      if (error instanceof PlanError) return false
      throw error
    }
  })
  if (made !== undefined) return `it is that of the first ${made} steps: verify it with --steps ${made}`
  return file === undefined ? 'give its plan with --plan' : 'give the plan that it was made of'
}
