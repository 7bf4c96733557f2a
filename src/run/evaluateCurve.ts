import { stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { testedOptions } from '../engine/chooseDevice.ts'
import { openEngine } from '../engine/threadEngine.ts'
import { EngineError, PlanError } from '../errors.ts'
import { loadModel } from '../model/load.ts'
import type { Model } from '../model/model.ts'
import { removedParameters } from '../model/plan.ts'
import { perplexityBeside } from '../objectives/perplexity.ts'
import { taskObjective } from '../objectives/taskObjective.ts'
import type { PruningPlan, RowObjective } from '../types.ts'
import { readRows, taskOf } from './calibrate.ts'
import { type CurveFile, type CurveFilePoint, curveName, writeCurveFile } from './curveFile.ts'
import type { EvaluateRequest } from './evaluateModel.ts'
import { checkSameModel, planOfSteps } from './givenPlan.ts'
import { isHeldOut } from './heldOut.ts'
import { type PlanFile, readPlanFile } from './planFile.ts'
import { versions } from './versions.ts'

export type CurveRequest = Omit<EvaluateRequest, 'plan' | 'steps'> & {
  /** plan.json of a run, or its folder. */
  readonly plan: string
}

export interface CurveResult {
  readonly file: CurveFile
  /** Where it was written: beside plan.json. */
  readonly path: string
}

/**
 * Measures the dense model and the plan after every step on a text, all in one pass, which shares what the steps have in common, and
 * writes the curve beside plan.json. Throws `PlanError` where the plan does not keep its steps, `EngineError` for a loss that is no
 * number.
 */
export async function evaluateCurve(request: CurveRequest): Promise<CurveResult> {
  const file = await readPlanFile(request.plan)
  if (Object.keys(file.plan.units).length > 0) {
    throw new PlanError(
      `--curve: the steps of ${file.method} removed units inside blocks, of which the plan holds the last state only; evaluate it without --curve`,
    )
  }
  const model = await loadModel(request.model, { revision: request.revision })
  const engineOptions = await testedOptions(model, request, request.onDevice)
  const engine = openEngine(model, engineOptions)
  try {
    if (request.allowOtherModel !== true) await checkSameModel(model, file, request.plan)
    const asked = { ...request.rows, task: request.rows.task ?? file.task }
    const task = taskOf(model, asked.task)
    const rows = await readRows(model, asked)
    const plans = Array.from({ length: file.steps.length + 1 }, (_, step) => planOfSteps(file, step))
    const objective = taskObjective(task, engine, rows)
    const values = await objective.evaluateRows(plans, { signal: request.signal })
    const { fingerprints: _, texts: __, seed: ___, ...text } = rows.description
    const heldOut = isHeldOut(file, rows)
    const curve: CurveFile = {
      version: 1,
      model: { id: model.id, sha256: file.model.sha256, parameters: model.parameters },
      ...{ method: file.method, task, text },
      ...(heldOut !== undefined && { heldOut }),
      points: plans.map((plan, step) => pointOf(model, file, objective, step, plan, values[step]!)),
      versions: versions(),
    }
    const path = join(await folderOf(request.plan), curveName(text.source))
    await writeCurveFile(path, curve)
    return { file: curve, path }
  } finally {
    await engine.close()
    await model.weights.close()
  }
}

function pointOf(
  model: Model,
  file: PlanFile,
  objective: RowObjective,
  step: number,
  plan: PruningPlan,
  values: Float64Array,
): CurveFilePoint {
  const loss = objective.combine(values)
  if (!Number.isFinite(loss)) {
    const what = step === 0 ? 'the dense model' : `step ${step}`
    throw new EngineError(`${model.id}: the loss of ${what} is ${loss}, expected a finite number; evaluate fewer steps`)
  }
  const counted = values.filter((value) => !Number.isNaN(value))
  const mean = counted.reduce((total, value) => total + value, 0) / counted.length
  const variance = counted.reduce((total, value) => total + (value - mean) ** 2, 0) / (counted.length - 1)
  const gone = removedParameters(model, plan)
  return {
    step,
    removed: step === 0 ? [] : [...file.steps[step - 1]!.removed],
    parameters: model.parameters - gone,
    ratio: gone / model.parameters,
    loss,
    ...perplexityBeside(loss, objective),
    ...(counted.length > 1 && { standardError: Math.sqrt(variance / counted.length) }),
  }
}

/** The folder of a plan.json, or the folder itself. */
async function folderOf(plan: string): Promise<string> {
  return (await stat(plan)).isDirectory() ? plan : dirname(plan)
}
