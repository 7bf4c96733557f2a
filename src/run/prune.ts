import { join } from 'node:path'
import { EngineError, OutputError, PlanError } from '../errors.ts'
import { firstNonFinite } from '../evaluate/nonFinite.ts'
import { makeFolder } from '../format/makeFolder.ts'
import type { Engine } from '../measures/measurement.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan, removedParameters } from '../model/plan.ts'
import { perplexityBeside } from '../objectives/perplexity.ts'
import type { Objective, PruningPlan, PruningStep, RowObjective, StopSignal, TokenRows } from '../types.ts'
import { type Budget, budgetFlag, budgetOptions, goesTooFar, isReached, reachedShare } from './budget.ts'
import { type Evaluation, followedObjective } from './followedObjective.ts'
import type { ForetoldCost } from './foretell.ts'
import { checkStep, partedMessage } from './guard.ts'
import { type Journal, openJournal } from './journal.ts'
import { journaledEngine } from './journaledEngine.ts'
import {
  describeParts,
  foretoldSpeedup,
  measureParts,
  measureWhole,
  type PartSeconds,
  secondsOf,
  type Timer,
} from './latency.ts'
import { type Latency, type PlanFile, type PlanStep, type RunInputs, readPlanFile, writePlanFile } from './planFile.ts'

export interface PruneRun {
  readonly model: Model
  readonly engine: Engine
  /** The plan that the search begins at; default the whole model. */
  readonly start?: PruningPlan | undefined
  readonly rows: TokenRows
  /** The loss that steps are recorded with, asked of an engine behind the journal. */
  readonly objective: (engine: Engine) => RowObjective
  /** The loss on rows that the method does not see; absent: steps are not checked. */
  readonly check?: ((engine: Engine) => RowObjective) | undefined
  readonly inputs: RunInputs
  readonly budget: Budget
  /** What a budget of speed is measured by; needed for no other. */
  readonly timing?: Timing | undefined
  /** Run directory: holds plan.json and journal.jsonl. */
  readonly directory: string
  /** The method's loop. */
  readonly method: (given: GivenToMethod) => AsyncGenerator<PruningStep, void>
  /** What the run will cost, from the seconds of the dense pass; absent: nothing is said. */
  readonly foretell?: ((secondsOfPass: number, isReached: (plan: PruningPlan) => boolean) => ForetoldCost) | undefined
  /** The method ends by itself: its steps are states of a search that all keep to the budget. */
  readonly endsItself?: boolean | undefined
  readonly signal?: StopSignal | undefined
  readonly onProgress?: ((progress: Progress) => void) | undefined
}

/** What a run gives to its method. */
export interface GivenToMethod {
  /** Behind the journal. */
  readonly engine: Engine
  readonly objective: RowObjective
  /** Puts other objectives into the progress of the run. */
  readonly followed: (objective: RowObjective) => RowObjective
  /** Whether a plan reaches the budget. */
  readonly isReached: (plan: PruningPlan) => boolean
}

export interface Timing {
  readonly timer: Timer
  /** What is timed: `rows` x `rowLength` tokens. */
  readonly rows: number
  readonly rowLength: number
  /** The method narrows blocks, so that their widths are to be timed as well. */
  readonly narrow: boolean
  /** All that the method may remove. */
  readonly most: PruningPlan
}

export type Progress =
  /** Before a search for speed: seconds of a dense pass, and the largest speed-up that the method could reach. */
  | { readonly type: 'timed'; readonly seconds: number; readonly most: number }
  | { readonly type: 'resumed'; readonly evaluations: number }
  | { readonly type: 'dense'; readonly loss: number }
  /** Before the first step of a run that nothing is known of yet. */
  | ({ readonly type: 'cost' } & ForetoldCost)
  | ({ readonly type: 'evaluated' } & Evaluation)
  | { readonly type: 'step'; readonly number: number; readonly step: PlanStep; readonly share: number }
  | { readonly type: 'warning'; readonly message: string }

/**
 * Runs a method to its budget in a run directory and returns the plan, which is written after every step. A run that was
 * killed goes on where its journal ends and gives the same bytes. Throws `OutputError` when the directory holds a run made
 * from other inputs, `EngineError` when the dense model's loss is not finite.
 */
export async function prune(run: PruneRun): Promise<PlanFile> {
  const { model, directory, budget, start = emptyPlan, signal, onProgress = () => {} } = run
  await makeDirectory(directory)
  const journal = openJournal(join(directory, 'journal.jsonl'), run.inputs, withoutBudget)
  try {
    const written = journal.recalled > 0 ? await stepsWritten(directory) : 0
    if (journal.recalled > 0) onProgress({ type: 'resumed', evaluations: journal.recalled })
    const parts = run.timing && (await timedParts(run, run.timing, journal))
    const reached = (plan: PruningPlan) => isReached(model, plan, budget, parts)
    const engine = journaledEngine(run.engine, journal)
    const followed = (asked: RowObjective) =>
      followedObjective(asked, (evaluation) => onProgress({ type: 'evaluated', ...evaluation }))
    const objective = followed(run.objective(engine))
    const began = performance.now()
    const dense = await denseLoss(run, objective)
    const seconds = (performance.now() - began) / 1000
    onProgress({ type: 'dense', loss: dense })
    if (journal.recalled === 0 && run.foretell) onProgress({ type: 'cost', ...run.foretell(seconds, reached) })
    const check = run.check && followed(run.check(engine))
    const [denseCheck] = check ? await check.evaluate([start], signal) : []
    const steps: PlanStep[] = []
    const warnings: string[] = []
    const file = (plan: PruningPlan, complete: boolean, latency?: Latency): PlanFile => ({
      version: 1,
      ...run.inputs,
      dense: {
        loss: dense,
        ...perplexityBeside(dense, objective),
        ...(check !== undefined &&
          denseCheck !== undefined && { check: { loss: denseCheck, ...perplexityBeside(denseCheck, check) } }),
      },
      steps,
      ...(latency && { latency }),
      ...(warnings.length > 0 && { warnings: [...warnings] }),
      complete,
      plan: {
        blocks: [...plan.blocks],
        units: plan.units as PlanFile['plan']['units'],
        ...(plan.outputNorms && { outputNorms: plan.outputNorms }),
        ...(plan.outputBiases && { outputBiases: plan.outputBiases }),
      },
    })
    let plan = start
    for await (const step of run.method({ engine, objective, followed, isReached: reached })) {
      if (run.endsItself !== true && reached(step.plan) && goesTooFar(model, plan, step.plan, budget)) break
      plan = step.plan
      const checked = check && (await checkStep(check, step, signal))
      steps.push({ ...planStep(model, objective, step), ...(checked && { check: checked }) })
      if (checked?.parted) {
        warnings.push(partedMessage(steps.length, step, checked))
        onProgress({ type: 'warning', message: warnings.at(-1)! })
      }
      // a run that is extended keeps the plan it has until it knows more
      if (steps.length > written) await writePlanFile(join(directory, 'plan.json'), file(plan, false))
      const share = reachedShare(model, plan, budget, parts)
      onProgress({ type: 'step', number: steps.length, step: steps.at(-1)!, share })
      if (run.endsItself !== true && reached(plan)) break
      signal?.throwIfAborted()
    }
    if (steps.length === 0) throw nothingRemoved(budget)
    const latency = run.timing && parts && (await measuredLatency(run, run.timing, parts, plan, journal))
    const complete = file(plan, true, latency)
    await writePlanFile(join(directory, 'plan.json'), complete)
    return complete
  } finally {
    journal.close()
  }
}

/** Inputs of a run but for how much it removes. */
function withoutBudget(inputs: unknown): unknown {
  const { options, ...others } = inputs as RunInputs
  return {
    ...others,
    options: Object.fromEntries(Object.entries(options ?? {}).filter(([name]) => !budgetOptions.includes(name))),
  }
}

/** Steps of the plan that stands in the folder, 0 where there is none that can be read. */
async function stepsWritten(directory: string): Promise<number> {
  return readPlanFile(join(directory, 'plan.json')).then(
    ({ steps }) => steps.length,
    () => 0,
  )
}

function nothingRemoved(budget: Budget): PlanError {
  return new PlanError(
    `${budgetFlag(budget)}: nothing can be removed without going further than that; ask for more, or for another --ratio-rule`,
  )
}

/** Throws `PlanError` when removing all that the method may remove is not fast enough. */
async function timedParts(run: PruneRun, timing: Timing, journal: Journal): Promise<PartSeconds> {
  const { model, budget, signal, onProgress } = run
  const parts = await measureParts(model, timing.timer, journal, { narrow: timing.narrow, start: run.start, signal })
  const most = foretoldSpeedup(model, parts, timing.most)
  onProgress?.({ type: 'timed', seconds: secondsOf(model, parts, emptyPlan), most })
  if (isReached(model, timing.most, budget, parts)) return parts
  throw new PlanError(
    `${budgetFlag(budget)}: without all of the ${timing.most.blocks.length} blocks that the method may remove ${model.id} is ` +
      `${most.toFixed(2)} times as fast here, on ${timing.rows} x ${timing.rowLength} tokens; ask for less`,
  )
}

async function measuredLatency(
  { model, signal }: PruneRun,
  { timer, rows, rowLength }: Timing,
  parts: PartSeconds,
  plan: PruningPlan,
  journal: Journal,
): Promise<Latency> {
  const { outputBiases: _, ...timed } = plan
  const seconds = await measureWhole(timed, timer, journal, signal)
  return {
    rows,
    rowLength,
    foretold: foretoldSpeedup(model, parts, plan),
    measured: seconds.dense / seconds.pruned,
    seconds,
    parts: { rest: parts.rest, blocks: describeParts(model, parts) },
  }
}

async function denseLoss(
  { model, engine, start = emptyPlan, rows, signal }: PruneRun,
  objective: RowObjective,
): Promise<number> {
  // the first step's plans branch off the dense model
  const [values] = await objective.evaluateRows([start], { prefix: start, signal })
  const loss = objective.combine(values!)
  if (Number.isFinite(loss)) return loss
  const where = await firstNonFinite(engine, rows)
  throw new EngineError(
    `${model.id}: the loss of the dense model is ${loss}, expected a finite number; ` +
      `the first non-finite values come out of ${where}; is the checkpoint damaged?`,
  )
}

function planStep(model: Model, objective: Objective, step: PruningStep): PlanStep {
  const { plan, removed, restored, loss, score, runnerUp } = step
  const gone = removedParameters(model, plan)
  return {
    removed: [...removed],
    ...(restored && { restored: [...restored] }),
    loss,
    ...perplexityBeside(loss, objective),
    ...(score !== undefined && { score }),
    ...(runnerUp && { runnerUp, margin: runnerUp.loss - (score ?? loss) }),
    parameters: model.parameters - gone,
    ratio: gone / model.parameters,
  }
}

async function makeDirectory(path: string): Promise<void> {
  try {
    await makeFolder(path)
  } catch (cause) {
    throw new OutputError(`${path}: cannot be made (${(cause as Error).message}); is --output a writable folder?`, {
      cause,
    })
  }
}
