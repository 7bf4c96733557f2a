import { join } from 'node:path'
import { testedOptions } from '../engine/chooseDevice.ts'
import { type EngineOptions, openEngine } from '../engine/threadEngine.ts'
import { PlanError } from '../errors.ts'
import type { MeasuredLoss } from '../export/modelCard.ts'
import { publicName } from '../export/publicName.ts'
import type { Engine } from '../measures/measurement.ts'
import { isGgufPath } from '../model/gguf/open.ts'
import { loadModel } from '../model/load.ts'
import type { Model } from '../model/model.ts'
import { Random } from '../tensor/random.ts'
import type { StopSignal, TokenRows } from '../types.ts'
import { defaultFormats } from './defaultFormats.ts'
import {
  checkDestinations,
  type ExportedFormats,
  expectedPredictions,
  exportFormats,
  exportNames,
} from './exportFormats.ts'
import { checkPlanFormats } from './formatChecks.ts'
import { openPlan, planFor } from './givenPlan.ts'
import type { Format, OtherFormatOptions } from './otherFormats.ts'
import type { PlanFile } from './planFile.ts'
import { stateSizeObjective } from './stateSize.ts'
import { type RatioRule, stepsAtRatio } from './stepsAtRatio.ts'

export interface ApplyRequest extends EngineOptions {
  readonly model: string
  readonly revision?: string | undefined
  /** plan.json of a run, its folder, or a plan written by hand. */
  readonly plan: string
  /** Use the first steps only. */
  readonly steps?: number | undefined
  /** Use the steps that remove this share of all parameters, 0..1, instead. */
  readonly ratio?: number | undefined
  /** By which rule; default nearest. */
  readonly ratioRule?: RatioRule | undefined
  /** Folder of the checkpoint, or the .gguf file; with several formats the folder that holds one of each. */
  readonly output: string
  /** Default that of the model: gguf for a .gguf file of a family that has one, else huggingface. */
  readonly formats?: readonly Format[] | undefined
  readonly quantize?: OtherFormatOptions['quantize']
  readonly dtypes?: OtherFormatOptions['dtypes']
  readonly attention?: OtherFormatOptions['attention']
  /** Replace what stands at `output`, whatever it is. */
  readonly force?: boolean | undefined
  /** Open the exports in the software that is installed; default true. */
  readonly verify?: boolean | undefined
  /** Called with a line for each consumer. */
  readonly onConsumer?: ((line: string) => void) | undefined
  /** Apply the plan although it was made for other weights. */
  readonly allowOtherModel?: boolean | undefined
  /** Called with a line about the device, where it is not the CPU that was asked for. */
  readonly onDevice?: ((text: string) => void) | undefined
  readonly signal?: StopSignal | undefined
}

/** Writes the model a plan file describes, opens it again and compares it with the plan on a fixed sequence. */
export async function applyPlanFile(request: ApplyRequest): Promise<ExportedFormats> {
  const { output, signal } = request
  const source = await openPlan(request.plan)
  const model = await loadModel(request.model, { revision: request.revision })
  const engineOptions = await testedOptions(model, request, request.onDevice)
  const engine = openEngine(model, engineOptions)
  try {
    const steps = stepsOf(source.file, request)
    const plan = await planFor(model, source, { ...request, steps })
    const formats = request.formats ?? defaultFormats(model)
    // a folder that was meant for another format holds a GGUF file as well
    const isPlace =
      formats.length === 1 && (request.formats !== undefined || formats[0] !== 'gguf' || isGgufPath(output))
    const pathOf = (format: Format) => (isPlace ? output : join(output, exportNames[format]))
    await checkDestinations(model, plan, { ...request, formats, pathOf })
    await checkPlanFormats(model, plan, formats)
    const rows = fixedRows(model)
    const objective = (of: Engine) => stateSizeObjective(of, rows)
    const [expectedLoss = Number.NaN] = await objective(engine).evaluate([plan], signal)
    const expected = request.verify === false ? undefined : await expectedPredictions(model, engine, plan, rows)
    // the dense weights make room for the export's
    await engine.close()
    return await exportFormats(model, plan, {
      ...request,
      formats,
      pathOf,
      check: { objective, expectedLoss, engine: engineOptions },
      expected,
      huggingFace: source.file ? originOf(source.file, steps) : { method: 'blocks chosen by hand' },
    })
  } finally {
    await engine.close()
    await model.weights.close()
  }
}

function stepsOf(file: PlanFile | undefined, { plan, steps, ratio, ratioRule = 'nearest' }: ApplyRequest) {
  if (ratio === undefined) return steps
  if (steps !== undefined) throw new PlanError('--ratio and --steps both say how many steps to use; leave one out')
  if (file === undefined)
    throw new PlanError(`--ratio ${ratio}: ${plan} was written by hand and has no steps; leave it out`)
  return stepsAtRatio(file, ratio, ratioRule)
}

/** How the blocks were chosen, and what that cost where the plan says it: on the text that they were chosen by. */
function originOf(file: PlanFile, steps: number | undefined): { method: string; measured?: MeasuredLoss } {
  const { method, calibration, task = 'nextToken', dense } = file
  const { tokens, rowLength, bos, prediction } = calibration
  const source = publicName(calibration.source)
  const taken = steps ?? file.steps.length
  return {
    method: `${method} on ${source}, ${calibration.rows} rows of ${rowLength} tokens`,
    measured: {
      ...{ task, tokens, rowLength },
      dataset: `${source} (the calibration text itself)`,
      startsWithBos: bos === 'every-row',
      ...(prediction !== undefined && { prediction }),
      dense: dense.loss,
      pruned: taken === 0 ? dense.loss : (file.steps[taken - 1]?.loss ?? dense.loss),
    },
  }
}

/** Seeded token ids, enough to tell two models apart: needs no tokenizer, no text and no head. */
function fixedRows({ architecture, sizes }: Model): TokenRows {
  const random = new Random(0)
  const [rows, rowLength] = [4, 64]
  const make = () => Int32Array.from({ length: rows * rowLength }, () => random.below(sizes['V']!))
  const decoder = architecture.family === 'encoderDecoder' ? { decoder: { ids: make(), rows, rowLength } } : {}
  return { ids: make(), rows, rowLength, ...decoder }
}
