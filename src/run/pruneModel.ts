import { join } from 'node:path'
import type { PackedRows } from '../data/calibration.ts'
import { sliceRows } from '../engine/rowsStore.ts'
import { openEngine } from '../engine/threadEngine.ts'
import { PlanError } from '../errors.ts'
import { type Comparison, compare } from '../evaluate/compare.ts'
import { isStockPlan } from '../export/huggingface.ts'
import type { MeasuredLoss } from '../export/modelCard.ts'
import type { Engine } from '../measures/measurement.ts'
import { methodOf, optionsOf } from '../methods/known.ts'
import type { Method, MethodOptions } from '../methods/method.ts'
import { contentHash } from '../model/contentHash.ts'
import { kindsOf } from '../model/kinds.ts'
import { layerCounts } from '../model/layers.ts'
import { loadModel } from '../model/load.ts'
import type { Model } from '../model/model.ts'
import { removedParameters } from '../model/plan.ts'
import type { Task } from '../model/task.ts'
import { meanObjective } from '../objectives/meanObjective.ts'
import { distanceObjective } from '../objectives/outputDistance.ts'
import { perplexityObjective } from '../objectives/perplexity.ts'
import { taskObjective } from '../objectives/taskObjective.ts'
import { endsItself, searchPlans } from '../search/searchPlans.ts'
import type {
  BlockKind,
  LossArithmetic,
  PruningPlan,
  PruningStep,
  RowObjective,
  StopSignal,
  TokenRows,
} from '../types.ts'
import { type Budget, budgetFlag, checkBudget, isReached } from './budget.ts'
import { type RowsRequest, readRows, readSentences, taskOf } from './calibrate.ts'
import {
  checkFormats,
  type ExportedFormats,
  expectedPredictions,
  exportFormats,
  exportNames,
  type Format,
} from './exportFormats.ts'
import { firstTokens } from './firstTokens.ts'
import { type Timer, timerOf } from './latency.ts'
import type { OtherFormatOptions } from './otherFormats.ts'
import { checkOutputNorms, engineWith, type OutputNorms, planWith } from './outputNorms.ts'
import type { PlanFile, RunInputs } from './planFile.ts'
import { type Progress, prune } from './prune.ts'
import {
  checkRowCount,
  checkStockLayout,
  type ObjectiveName,
  resolveSearch,
  type SearchRequest,
} from './searchRequest.ts'
import { stateSizeObjective } from './stateSize.ts'
import { versions } from './versions.ts'

export interface PruneModelRequest {
  /** Folder, .gguf file or hub id. */
  readonly model: string
  readonly revision?: string | undefined
  /** Run directory. */
  readonly output: string
  /** A name of `blockpruner methods`; default BlockPruner. */
  readonly method?: string | undefined
  /** Options of the method, by the names that its list gives them. */
  readonly methodOptions?: MethodOptions | undefined
  /** How BlockPruner's loop is searched and what it compares; default as published. */
  readonly searching?: SearchRequest | undefined
  /** Kinds of blocks that may go; default all that the model has. */
  readonly kinds?: readonly BlockKind[] | undefined
  /** What becomes of the norm behind a removed branch, where there is one; default keep. */
  readonly outputNorms?: OutputNorms | undefined
  /** `all`: a ranking of all that the method may remove, from which any smaller budget can be cut. */
  readonly budget: Budget | { readonly remove: 'all' }
  readonly calibration: RowsRequest
  /** A text to measure the dense and the pruned model on, for the card and the result. */
  readonly evaluation?: RowsRequest | undefined
  readonly seed: number
  /** How the loss of a token is summed: `released` reproduces numbers of the authors' code; default `precise`. */
  readonly arithmetic?: LossArithmetic | undefined
  readonly threads?: number | undefined
  /** What a budget of speed is measured by; default passes on this machine. */
  readonly timer?: Timer | undefined
  /** Write the pruned checkpoint to `output`/model; default true. */
  readonly export?: boolean | undefined
  /** Formats of the checkpoint; default huggingface. */
  readonly formats?: readonly Format[] | undefined
  readonly quantize?: OtherFormatOptions['quantize']
  readonly dtypes?: OtherFormatOptions['dtypes']
  readonly attention?: OtherFormatOptions['attention']
  /** Open the exports in the software that is installed; default true. */
  readonly verify?: boolean | undefined
  readonly signal?: StopSignal | undefined
  readonly onProgress?: ((progress: PruneProgress) => void) | undefined
}

export type PruneProgress =
  | Progress
  | {
      readonly type: 'loaded'
      readonly model: Model
      readonly rows: PackedRows
      readonly task: Task
      readonly budget: Budget
      /** Blocks that may go. */
      readonly candidates: number
    }
  /** What the method keeps in memory besides weights and states. */
  | { readonly type: 'keeping'; readonly bytes: number }
  | { readonly type: 'consumer'; readonly line: string }
  | { readonly type: 'exporting'; readonly writtenBytes: number; readonly totalBytes: number }

/** Exports are absent where none was asked for. */
export interface PruneModelResult extends Partial<ExportedFormats> {
  readonly file: PlanFile
  readonly planPath: string
  /** Dense and pruned model on the evaluation text. */
  readonly evaluation?: (Comparison & { readonly source: string }) | undefined
}

/** Reads a model and a text, prunes by the method asked for in a run directory, and writes and checks the smaller checkpoint. */
export async function pruneModel(request: PruneModelRequest): Promise<PruneModelResult> {
  const { output, outputNorms = 'keep', seed, threads, signal, onProgress } = request
  const method = methodOf(request.method ?? 'blockpruner')
  const options = optionsOf(method, request.methodOptions)
  checkCounts(request.budget, method, options)
  const searching = resolveSearch(request.searching ?? {}, method.name, request.kinds)
  const model = await loadModel(request.model, { revision: request.revision })
  const engine = engineWith(outputNorms, openEngine(model, { threads }))
  try {
    checkOutputNorms(model, outputNorms)
    const kinds = request.kinds ?? kindsOf(model)
    const masks = method.masks?.(options) ?? []
    const removable = method.removable(model, kinds, options)
    const budget = numbered(request.budget, removable.length)
    checkBudget(model, budget, kinds)
    const most = planWith(outputNorms, { blocks: removable, units: {} })
    if (!('speedup' in budget)) checkReach(model, budget, method, most)
    if (searching.layout === 'stock') checkStockLayout(model, outputNorms)
    if (request.export !== false) {
      // where blocks of two kinds may go, whole layers may
      const least = kinds.length === 1 ? removable.map((id) => planWith(outputNorms, { blocks: [id], units: {} })) : []
      checkFormats(model, request.formats ?? ['huggingface'], least)
    }
    const task = taskOf(model, request.calibration.task)
    const rows = await readRows(model, request.calibration)
    const seen = rows.rows - checkRowCount(searching, rows.rows)
    const searchRows = sliceRows(rows, [0, seen])
    const checkRows = seen < rows.rows ? sliceRows(rows, [seen, rows.rows]) : undefined
    const evaluationRows = request.evaluation && (await readRows(model, request.evaluation))
    const sentences = request.evaluation && (await readSentences(model, request.evaluation))
    onProgress?.({ type: 'loaded', model, rows, task, budget, candidates: removable.length })
    const keptBytes = method.keeps?.(model, searchRows, options)
    if (keptBytes !== undefined) onProgress?.({ type: 'keeping', bytes: keptBytes })
    const ignored = ignoredTarget(model)
    const losses = { ignored, arithmetic: request.arithmetic }
    const lossOn = (on: TokenRows) => taskObjective(task, engine, on, losses)
    const objective = lossOn(searchRows)
    const objectives: Record<ObjectiveName, (on: TokenRows) => RowObjective> = {
      perplexity: lossOn,
      kl: (on) => distanceObjective(engine, on, 'kl'),
      js: (on) => distanceObjective(engine, on, 'js'),
    }
    const comparing = (on: TokenRows) => meanObjective(searching.objectives.map((name) => objectives[name](on)))
    const inputs: RunInputs = {
      model: {
        id: model.id,
        modelType: String(model.config['model_type']),
        sha256: await contentHash(model),
        parameters: model.parameters,
        layers: layerCounts(model),
      },
      method: method.name,
      options: {
        kinds: [...kinds],
        ...budget,
        ...(outputNorms === 'drop' && { outputNorms }),
        ...(request.arithmetic === 'released' && { arithmetic: 'released' }),
        ...options,
        ...searching.recorded,
      },
      calibration: rows.description,
      ...(task !== 'nextToken' && { task }),
      seed,
      versions: versions(),
    }
    const file = await prune({
      model,
      engine,
      rows: searchRows,
      objective,
      check: checkRows && named('check', lossOn(checkRows)),
      inputs,
      budget,
      ...('speedup' in budget && {
        timing: {
          timer: request.timer ?? timerOf(engine, sliceRows(rows, [0, 1])),
          rows: 1,
          rowLength: rows.rowLength,
          narrow: masks.some((name) => name === 'channels' || name === 'heads'),
          most,
        },
      }),
      directory: output,
      method: (asked, journaled, isEnough) => {
        const reached = (plan: PruningPlan) => isEnough(planWith(outputNorms, plan))
        if (Object.keys(searching.recorded).some((option) => option !== 'checkRows')) {
          const compared = comparing(searchRows)
          const sought = compared.measure === asked.measure ? asked : journaled(compared)
          const check = checkRows === undefined ? sought : journaled(named('check', comparing(checkRows)))
          const isStock = (plan: PruningPlan) => isStockPlan(model, planWith(outputNorms, plan))
          const given = { ...searching, kinds, seed, isReached: reached, isStock, signal }
          const steps = searchPlans(model, sought, check, given)
          return withNorms(outputNorms, sought === asked ? steps : withLosses(steps, asked, signal))
        }
        const steps = method.run(
          {
            model,
            objective: asked,
            pooled: journaled(perplexityObjective(engine, searchRows, { ...losses, average: 'tokens' })),
            distance: (measure, chosen) => journaled(distanceObjective(engine, searchRows, measure, chosen)),
            engine,
            rows: searchRows,
            kinds,
            seed,
            reached,
            signal,
          },
          options,
        )
        return withNorms(outputNorms, steps)
      },
      endsItself: method.endsItself === true || endsItself(searching),
      signal,
      onProgress,
    })
    const evaluation = evaluationRows && {
      source: evaluationRows.description.source,
      ...(await compare(engine, evaluationRows, task, file.plan, { sentences, signal })),
    }
    const result = { file, planPath: join(output, 'plan.json'), evaluation }
    if (request.export === false) return result
    // hidden states have no loss of their own: what a reopened export is compared by is their size
    const checked = (of: Engine) =>
      task === 'hiddenStates' ? stateSizeObjective(of, searchRows) : taskObjective(task, of, searchRows, losses)
    const lossOfPlan = file.steps.at(-1)?.loss ?? file.dense.loss
    const [expectedLoss = Number.NaN] =
      task === 'hiddenStates' ? await checked(engine).evaluate([file.plan], signal) : [lossOfPlan]
    const shown = firstTokens(searchRows, 2, 64)
    const expected = request.verify === false ? undefined : await expectedPredictions(model, engine, file.plan, shown)
    // the dense weights make room for the export's
    await engine.close()
    const exported = await exportFormats(model, file.plan, {
      ...request,
      pathOf: (format) => join(output, exportNames[format]),
      // what stands in a run directory under these names is its own
      replace: true,
      check: { threads, objective: checked, expectedLoss },
      expected,
      huggingFace: {
        method: `${method.title}${method.paper ? ` (${method.paper})` : ''} on ${rows.description.source}, ${rows.rows} rows of ${rows.rowLength} tokens`,
        measured: measuredFor(task, rows, file, evaluationRows, evaluation),
      },
      onConsumer: (line) => onProgress?.({ type: 'consumer', line }),
      onProgress: (writtenBytes, totalBytes) => onProgress?.({ type: 'exporting', writtenBytes, totalBytes }),
    })
    return { ...result, ...exported }
  } finally {
    await engine.close()
    await model.weights.close()
  }
}

/** Steps whose plans say what becomes of the norms behind the branches they remove. */
async function* withNorms(
  outputNorms: OutputNorms,
  steps: AsyncGenerator<PruningStep, void>,
): AsyncGenerator<PruningStep, void> {
  for await (const step of steps) yield { ...step, plan: planWith(outputNorms, step.plan) }
}

/** The steps of a search that compared plans by something else, with the loss of each and what it was chosen by as its score. */
async function* withLosses(
  steps: AsyncGenerator<PruningStep, void>,
  objective: RowObjective,
  signal: StopSignal | undefined,
): AsyncGenerator<PruningStep, void> {
  for await (const step of steps) {
    const [loss = Number.NaN] = await objective.evaluate([step.plan], signal)
    yield { ...step, loss, score: step.loss }
  }
}

/** `objective` under another name in the journal. */
function named(prefix: string, objective: RowObjective): RowObjective {
  return { ...objective, measure: `${prefix} ${objective.measure}` }
}

/** Throws `PlanError` where a number of blocks is asked of a method that takes units out of them. */
function checkCounts(budget: PruneModelRequest['budget'], method: Method, options: MethodOptions): void {
  const masks = method.masks?.(options) ?? []
  if (!('remove' in budget) || masks.length === 0 || masks.includes('blocks') || masks.includes('layers')) return
  throw new PlanError(
    `--remove ${budget.remove}: counts blocks, but ${method.name} removes ${masks.join(' and ')} inside them; ` +
      'ask for --ratio, --size, --kv-bytes or --speedup',
  )
}

function numbered(budget: PruneModelRequest['budget'], all: number): Budget {
  return 'remove' in budget && budget.remove === 'all' ? { remove: all } : (budget as Budget)
}

/** Throws `PlanError` when `budget` is not reached by `most`, all that the method may remove. */
function checkReach(model: Model, budget: Budget, { name }: Method, most: PruningPlan): void {
  if (isReached(model, most, budget)) return
  const share = removedParameters(model, most) / model.parameters
  throw new PlanError(
    `${budgetFlag(budget)}: ${name} with these options can remove at most ${most.blocks.length} of the ${model.blocks.length} blocks of ` +
      `${model.id}, ${share.toFixed(3)} of its parameters; ask for less, or take another method`,
  )
}

/** The card's numbers: on the evaluation text where there is one, else on the calibration text, which is named as such. */
function measuredFor(
  task: Task,
  rows: PackedRows,
  file: PlanFile,
  evaluationRows?: PackedRows,
  evaluation?: Comparison,
): MeasuredLoss {
  const { source, tokens, rowLength, bos, prediction } = (evaluationRows ?? rows).description
  const found = evaluation && lossesOf(evaluation)
  return {
    task,
    dataset: found === undefined ? `${source} (the calibration text itself)` : source,
    tokens,
    rowLength,
    startsWithBos: bos === 'every-row',
    ...(prediction !== undefined && { prediction }),
    dense: found?.dense ?? file.dense.loss,
    pruned: found?.pruned ?? file.steps.at(-1)?.loss ?? file.dense.loss,
  }
}

/** The losses of a comparison, as a plan has them: the mean of the rows' means where the head predicts the next token. */
function lossesOf(evaluation: Comparison): { readonly dense: number; readonly pruned: number | undefined } {
  if (evaluation.task === 'hiddenStates') return { dense: 0, pruned: evaluation.pruned.distance }
  if (evaluation.task !== 'nextToken') return { dense: evaluation.dense.loss, pruned: evaluation.pruned?.loss }
  const { dense, pruned } = evaluation
  return { dense: Math.log(dense.sequenceMean), pruned: pruned && Math.log(pruned.sequenceMean) }
}

/** As in BlockPruner's code: targets equal to the padding id are not counted, unless that id is 0 or absent. */
export function ignoredTarget({ config }: Model): number | undefined {
  const pad = config['pad_token_id']
  return typeof pad === 'number' && pad > 0 ? pad : undefined
}
