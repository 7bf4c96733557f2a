import { join } from 'node:path'
import { openEngine } from '../engine/threadEngine.ts'
import { PlanError } from '../errors.ts'
import type { Engine } from '../measures/measurement.ts'
import { contentHash } from '../model/contentHash.ts'
import { loadModel } from '../model/load.ts'
import type { Model } from '../model/model.ts'
import { checkPlan, emptyPlan } from '../model/plan.ts'
import { Random } from '../tensor/random.ts'
import type { BlockId, PruningPlan, StopSignal, TokenRows } from '../types.ts'
import {
  describeFormat,
  type ExportedFormats,
  expectedPredictions,
  exportFormats,
  exportNames,
  type Format,
} from './exportFormats.ts'
import type { OtherFormatOptions } from './otherFormats.ts'
import { type PlanFile, readPlanFile } from './planFile.ts'
import { stateSizeObjective } from './stateSize.ts'

export interface ApplyRequest {
  readonly model: string
  readonly revision?: string | undefined
  /** plan.json of a run. */
  readonly plan: string
  /** Use the first steps only. */
  readonly steps?: number | undefined
  /** Folder of the checkpoint, or the .gguf file; with several formats the folder that holds one of each. */
  readonly output: string
  /** Default huggingface. */
  readonly formats?: readonly Format[] | undefined
  readonly quantize?: OtherFormatOptions['quantize']
  readonly dtypes?: OtherFormatOptions['dtypes']
  readonly attention?: OtherFormatOptions['attention']
  /** Open the exports in the software that is installed; default true. */
  readonly verify?: boolean | undefined
  /** Called with a line for each consumer. */
  readonly onConsumer?: ((line: string) => void) | undefined
  /** Apply the plan although it was made for other weights. */
  readonly allowOtherModel?: boolean | undefined
  readonly threads?: number | undefined
  readonly signal?: StopSignal | undefined
}

/** Writes the model a plan file describes, opens it again and compares it with the plan on a fixed sequence. */
export async function applyPlanFile(request: ApplyRequest): Promise<ExportedFormats> {
  const { output, formats = ['huggingface'], signal } = request
  const file = await readPlanFile(request.plan)
  const model = await loadModel(request.model, { revision: request.revision })
  const engine = openEngine(model, { threads: request.threads })
  try {
    if (!request.allowOtherModel) await checkSameModel(model, file, request.plan)
    const plan = planOfSteps(file, request.steps)
    checkPlan(model, plan)
    for (const format of formats) describeFormat(format, model, plan)
    const rows = fixedRows(model)
    const objective = (of: Engine) => stateSizeObjective(of, rows)
    const [expectedLoss = Number.NaN] = await objective(engine).evaluate([plan], signal)
    const expected = request.verify === false ? undefined : await expectedPredictions(model, engine, plan, rows)
    // the dense weights make room for the export's
    await engine.close()
    const { method, calibration } = file
    return await exportFormats(model, plan, {
      ...request,
      pathOf: (format) => (formats.length === 1 ? output : join(output, exportNames[format])),
      check: { objective, expectedLoss, threads: request.threads },
      expected,
      huggingFace: {
        method: `${method} on ${calibration.source}, ${calibration.rows} rows of ${calibration.rowLength} tokens`,
      },
    })
  } finally {
    await engine.close()
    await model.weights.close()
  }
}

/** Throws `PlanError` when `file` was made for weights other than `model`'s. */
export async function checkSameModel(model: Model, file: PlanFile, path: string): Promise<void> {
  const found = await contentHash(model)
  if (found === file.model.sha256) return
  throw new PlanError(
    `${path}: was made for ${file.model.id} (sha256 ${file.model.sha256.slice(0, 12)}…), but ${model.id} is another model ` +
      `(sha256 ${found.slice(0, 12)}…); give the model of the plan, or --allow-other-model if it is the same in another format`,
  )
}

/** The plan after the first `steps` steps of `file`, the whole model for 0, after all when undefined. */
export function planOfSteps(file: PlanFile, steps: number | undefined): PruningPlan {
  if (steps === undefined || steps === file.steps.length) return file.plan as PruningPlan
  if (steps === 0) return emptyPlan
  if (!Number.isInteger(steps) || steps < 0 || steps > file.steps.length) {
    throw new PlanError(
      `--steps ${steps}: expected a whole number from 0 to ${file.steps.length}, the steps of the plan`,
    )
  }
  if (Object.keys(file.plan.units).length > 0) {
    throw new PlanError(
      `--steps ${steps}: the steps of ${file.method} removed units inside blocks, of which the plan holds the last state only; leave --steps out`,
    )
  }
  let blocks: BlockId[] = []
  for (const { removed, restored = [] } of file.steps.slice(0, steps)) {
    blocks = [...blocks, ...removed].filter((id) => !restored.includes(id))
  }
  const { outputNorms } = file.plan
  return { blocks, units: {}, ...(outputNorms && { outputNorms }) }
}

/** Seeded token ids, enough to tell two models apart: needs no tokenizer, no text and no head. */
function fixedRows({ architecture, sizes }: Model): TokenRows {
  const random = new Random(0)
  const [rows, rowLength] = [4, 64]
  const make = () => Int32Array.from({ length: rows * rowLength }, () => random.below(sizes['V']!))
  const decoder = architecture.family === 'encoderDecoder' ? { decoder: { ids: make(), rows, rowLength } } : {}
  return { ids: make(), rows, rowLength, ...decoder }
}
