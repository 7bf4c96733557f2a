import type { PackedRows } from '../data/calibration.ts'
import type { DeviceName } from '../deviceNames.ts'
import { testedOptions } from '../engine/chooseDevice.ts'
import { describeMemory, freeMemory, type MemoryPlan, planMemory } from '../engine/memory.ts'
import { sliceRows } from '../engine/rowsStore.ts'
import { type EngineOptions, openEngine } from '../engine/threadEngine.ts'
import type { Sentences } from '../evaluate/embeddings.ts'
import type { Engine } from '../measures/measurement.ts'
import type { Method } from '../methods/method.ts'
import type { MethodOptions } from '../methods/options.ts'
import { methodMeant, methodOf, optionsOf } from '../methods/registry.ts'
import { contentHash } from '../model/contentHash.ts'
import { layerCounts } from '../model/layers.ts'
import { loadModel } from '../model/load.ts'
import type { Model } from '../model/model.ts'
import type { Task } from '../model/task.ts'
import { taskObjective } from '../objectives/taskObjective.ts'
import type { BlockId, BlockKind, PruningPlan, RowObjective, TokenRows } from '../types.ts'
import { type Budget, defaultBudget } from './budget.ts'
import { readRows, readSentences, taskOf } from './calibrate.ts'
import { checkDestinations, inRunDirectory } from './exportFormats.ts'
import { checkCounts, checkTimed, goalOf } from './goal.ts'
import type { RunInputs } from './planFile.ts'
import { recordedProtection } from './protection.ts'
import type { AnyPruneRequest } from './pruneRequest.ts'
import { checkRunDirectory } from './replaceable.ts'
import { promptsIfAny, type ReadyPrompts, readyPrompts } from './samples.ts'
import { checkRowCount, type ResolvedSearch, resolveSearch } from './searchRequest.ts'
import { budgetOfPlan, checkPlanToImprove, readPlanToImprove, recordedStart } from './startPlan.ts'
import { versions } from './versions.ts'

/** A run whose request was found to make sense: everything is read, nothing is measured. */
export interface Prepared {
  readonly model: Model
  readonly engine: Engine
  /** What the engine was opened with. */
  readonly engineOptions: EngineOptions
  readonly method: Method
  readonly options: MethodOptions
  readonly searching: ResolvedSearch
  readonly budget: Budget
  readonly kinds: readonly BlockKind[]
  readonly keep: ReadonlySet<BlockId>
  /** The plan that the search begins at. */
  readonly start: PruningPlan
  /** The plan that its search was told to improve. */
  readonly toImprove: PruningPlan | undefined
  /** Without all that the method may remove. */
  readonly most: PruningPlan
  /** What samples are to continue; undefined: none are asked for. */
  readonly prompts: ReadyPrompts | undefined
  readonly task: Task
  /** Calibration, the part of it that is searched on, and the part that steps are checked on. */
  readonly rows: PackedRows
  readonly searchRows: TokenRows
  readonly checkRows: TokenRows | undefined
  readonly evaluation: { readonly rows: PackedRows; readonly sentences: Sentences | undefined } | undefined
  /** The loss of the task, by what the run was asked for, on some rows of a model in some engine. */
  readonly lossOn: (rows: TokenRows, engine?: Engine) => RowObjective
  readonly ignored: number | undefined
  readonly inputs: RunInputs
  close(): Promise<void>
}

/** Reads what a run needs and refuses, before hours of search, what cannot end well. The caller closes what it gets. */
export async function prepare(request: AnyPruneRequest): Promise<Prepared> {
  const method = request.method === undefined ? methodMeant(request.methodOptions ?? {}) : methodOf(request.method)
  const options = optionsOf(method, request.methodOptions)
  checkCounts(request.budget ?? defaultBudget, method, options)
  const searching = resolveSearch(request.searching ?? {}, method, request.kinds)
  checkTimed(request)
  const model = await loadModel(request.model, { revision: request.revision })
  const report = (text: string) => request.onProgress?.({ type: 'device', text })
  const engineOptions = await testedOptions(model, { spillFolder: request.output, ...request }, report).catch(
    async (error) => {
      await model.weights.close()
      throw error
    },
  )
  const engine = openEngine(model, engineOptions)
  const close = async () => {
    await engine.close()
    await model.weights.close()
  }
  try {
    const toImprove = await readPlanToImprove(model, searching, request)
    const budget = request.budget ?? (toImprove && budgetOfPlan(model, toImprove))
    const goal = await goalOf(model, method, options, searching, { ...request, budget })
    if (toImprove !== undefined) checkPlanToImprove(model, toImprove, goal)
    await checkRunDirectory(request.output, request.force === true)
    if (request.export !== false) await checkDestinations(model, undefined, inRunDirectory(model, request))
    const texts = await readTextsOf(model, searching, request)
    request.onProgress?.({
      type: 'loaded',
      model,
      rows: texts.rows,
      task: texts.task,
      budget: goal.budget,
      candidates: goal.most.blocks.length,
    })
    const memory = planMemory(model, request.maxMemory ?? freeMemory())
    request.onProgress?.({ type: 'memory', text: describeMemory(memory) })
    const prompts = await promptsOf(model, memory, request)
    const keptBytes = method.keeps?.(model, texts.searchRows, options)
    if (keptBytes !== undefined) request.onProgress?.({ type: 'keeping', bytes: keptBytes })
    const ignored = ignoredTarget(model)
    const lossOn = (rows: TokenRows, of: Engine = engine) =>
      taskObjective(texts.task, of, rows, { ignored, arithmetic: request.arithmetic })
    const run = {
      model,
      engine,
      engineOptions,
      method,
      options,
      searching,
      toImprove,
      ...goal,
      ...texts,
      prompts,
      lossOn,
      ignored,
      close,
    }
    return { ...run, inputs: await inputsOf(run, request) }
  } catch (error) {
    await close()
    throw error
  }
}

async function readTextsOf(
  model: Model,
  searching: ResolvedSearch,
  { calibration, evaluation, onProgress }: AnyPruneRequest,
) {
  const task = taskOf(model, calibration.task)
  const onWarning = (message: string) => onProgress?.({ type: 'warning', message })
  const rows = await readRows(model, { onWarning, ...calibration })
  const seen = rows.rows - checkRowCount(searching, rows.rows)
  const searchRows = sliceRows(rows, [0, seen])
  const checkRows = seen < rows.rows ? sliceRows(rows, [seen, rows.rows]) : undefined
  const evaluated = evaluation && {
    rows: await readRows(model, { onWarning, ...evaluation }),
    sentences: await readSentences(model, evaluation),
  }
  return { task, rows, searchRows, checkRows, evaluation: evaluated }
}

async function promptsOf(model: Model, memory: MemoryPlan, { continuations = 0, onProgress }: AnyPruneRequest) {
  if (continuations !== 'ifAny') return readyPrompts(model, continuations)
  // a token would read all weights
  if (memory.weights === 'streamed') return undefined
  return promptsIfAny(model, (message) => onProgress?.({ type: 'warning', message }))
}

async function inputsOf(
  { model, engineOptions, method, options, searching, toImprove, kinds, budget, rows, task }: Omit<Prepared, 'inputs'>,
  request: AnyPruneRequest,
): Promise<RunInputs> {
  const { outputNorms, arithmetic, seed } = request
  return {
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
      ...(arithmetic === 'released' && { arithmetic }),
      ...options,
      ...searching.recorded,
      ...(toImprove && { start: recordedStart(toImprove) }),
      ...recordedProtection(request),
    },
    calibration: rows.description,
    ...(task !== 'nextToken' && { task }),
    ...(engineOptions.device !== undefined && { device: engineOptions.device as DeviceName }),
    seed,
    versions: versions(),
  }
}

/** As in BlockPruner's code: targets equal to the padding id are not counted, unless that id is 0 or absent. */
function ignoredTarget({ config }: Model): number | undefined {
  const pad = config['pad_token_id']
  return typeof pad === 'number' && pad > 0 ? pad : undefined
}
