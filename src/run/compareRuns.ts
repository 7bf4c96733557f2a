import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { OutputError, PlanError } from '../errors.ts'
import { writeFileAtomic } from '../format/atomicFile.ts'
import type { RunComparison, Series } from '../report/comparison.ts'
import { curvesSvg } from '../report/curvesSvg.ts'
import { type CurveFile, isCurveName, readCurveFile } from './curveFile.ts'
import { type PlanFile, readPlanFile } from './planFile.ts'

export interface CompareRequest {
  /** Run directories, or their plan.json. */
  readonly runs: readonly string[]
  /** The text whose curves are compared, as `evaluate --curve` called it; absent: the one that all runs have. */
  readonly text?: string | undefined
}

interface Run {
  readonly path: string
  readonly file: PlanFile
  readonly curves: readonly CurveFile[]
}

/**
 * The curves of runs of one model on one text: those that `evaluate --curve` wrote, or, where the runs have none in common, the losses
 * of the calibration text, if it is the same for all. Throws `PlanError` for runs that cannot be compared.
 */
export async function compareRuns({ runs: paths, text }: CompareRequest): Promise<RunComparison> {
  const runs = await Promise.all(paths.map(openRun))
  const [first, ...others] = runs
  if (first === undefined) throw new PlanError('compare: no run is named, expected run directories')
  const stranger = others.find(({ file }) => file.model.sha256 !== first.file.model.sha256)
  if (stranger !== undefined) {
    throw new PlanError(
      `${stranger.path}: is a run of ${stranger.file.model.id}, but ${first.path} is one of ${first.file.model.id}; compare runs of the same model`,
    )
  }
  const names = namesOf(runs)
  const common = commonCurves(runs, text)
  if (common !== undefined) {
    const [{ task, text: on, heldOut }] = common as [CurveFile, ...CurveFile[]]
    const where = `${on.source}, ${on.rows} rows of ${on.rowLength}${heldOut === false ? ', not held out' : ''}`
    const series = common.map(({ points }, i): Series => ({ name: names[i]!, points }))
    return { title: `${basename(first.file.model.id)} on ${where}`, task, series }
  }
  const lacking = runs.filter(({ curves }) => curves.length === 0).map(({ path }) => path)
  const isPartial = runs.some(({ curves }) => curves.length > 0)
  const without = lacking.length === 0 ? 'the curves are of different rows' : `${lacking.join(', ')} has no curve`
  return {
    ...onCalibration(runs, names),
    ...(isPartial && { note: `${without}: measure each with evaluate --curve --plan RUN and the same options` }),
  }
}

/** Writes the curves as a picture, over an older picture only, unless forced. Throws `OutputError` for any other file that is there. */
export async function writeCurves(path: string, comparison: RunComparison, force = false): Promise<void> {
  const found = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new OutputError(`${path}: cannot be written (${error.message}); name another file`, { cause: error })
  })
  if (found !== undefined && !found.startsWith('<svg') && !force) {
    throw new OutputError(
      `${path}: is there and is no picture, expected none or an older SVG; name another file, or replace it with --force`,
    )
  }
  await writeFileAtomic(path, curvesSvg(comparison))
}

async function openRun(path: string): Promise<Run> {
  const file = await readPlanFile(path)
  const folder = (await stat(path)).isDirectory() ? path : dirname(path)
  const found = (await readdir(folder)).filter(isCurveName).sort()
  const curves = await Promise.all(found.map((name) => readCurveFile(join(folder, name))))
  // a run that went on has steps that an older curve does not know
  return { path, file, curves: curves.filter(({ points }) => points.length === file.steps.length + 1) }
}

/** For each run its curve on the same rows; undefined where there are none and none were asked for. */
function commonCurves(runs: readonly Run[], asked: string | undefined): CurveFile[] | undefined {
  const [first] = runs
  const candidates = first!.curves.filter(({ text }) => asked === undefined || text.source === asked)
  const onSame = (candidate: CurveFile) =>
    runs.map(({ curves }) =>
      curves.find(({ text, task }) => keyOf(text, task) === keyOf(candidate.text, candidate.task)),
    )
  const complete = candidates.map(onSame).find((curves) => curves.every((curve) => curve !== undefined))
  if (complete !== undefined) return complete as CurveFile[]
  if (asked === undefined) return undefined
  const lists = runs.map(({ path, curves }) => `${path} ${curves.map(({ text }) => text.source).join(', ') || 'none'}`)
  throw new PlanError(
    `--text ${asked}: not every run has a curve of the same rows of it (${lists.join('; ')}); measure them with evaluate --curve --plan RUN and the same options`,
  )
}

const keyOf = ({ sha256, prediction = '' }: CurveFile['text'], task: string) => `${sha256} ${prediction} ${task}`

function onCalibration(runs: readonly Run[], names: readonly string[]): RunComparison {
  const [{ file }] = runs as [Run, ...Run[]]
  const { calibration, model, task = 'nextToken' } = file
  const stranger = runs.find(
    (run) => run.file.calibration.sha256 !== calibration.sha256 || (run.file.task ?? 'nextToken') !== task,
  )
  if (stranger !== undefined) {
    throw new PlanError(
      `${stranger.path}: was calibrated on other rows than ${runs[0]!.path}, so that their losses cannot be compared; measure each with evaluate --curve --plan RUN --dataset TEXT`,
    )
  }
  const where = `${calibration.source}, ${calibration.rows} rows of ${calibration.rowLength}, the calibration text itself`
  return {
    title: `${basename(model.id)} on ${where}`,
    task,
    series: runs.map(({ file: { dense, steps } }, i) => ({
      name: names[i]!,
      points: [
        { step: 0, ratio: 0, parameters: model.parameters, loss: dense.loss },
        ...steps.map(({ ratio, parameters, loss }, step) => ({ step: step + 1, ratio, parameters, loss })),
      ],
    })),
  }
}

/** A run by its method, with its folder where another run has the same. */
function namesOf(runs: readonly Run[]): string[] {
  return runs.map(({ path, file: { method } }) => {
    const isUnique = runs.filter(({ file }) => file.method === method).length === 1
    const folder = basename(path) === 'plan.json' ? dirname(resolve(path)) : resolve(path)
    return isUnique ? method : `${method} (${basename(folder)})`
  })
}
