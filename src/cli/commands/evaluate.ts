import { Command, Option } from 'commander'
import { PlanError } from '../../errors.ts'
import { shownLoss, taskLosses } from '../../model/task.ts'
import type { CurveFile } from '../../run/curveFile.ts'
import { evaluateCurve } from '../../run/evaluateCurve.ts'
import { type EvaluateResult, evaluateModel } from '../../run/evaluateModel.ts'
import { comparisonRows, measuredOn } from '../comparison.ts'
import type { Interruption } from '../interruption.ts'
import {
  onDevice,
  rowsRequest,
  type SharedOptions,
  type TextOptions,
  wholeNumber,
  withModelOptions,
  withOutputOptions,
  withTextOptions,
} from '../options.ts'
import { samplesText } from '../samplesText.ts'
import { table } from '../table.ts'

interface EvaluateOptions extends SharedOptions, TextOptions {
  readonly plan?: string
  readonly steps?: number
  readonly allowOtherModel?: true
  readonly curve?: true
  readonly continuations?: number
}

const defaultRows = 64

/** `blockpruner evaluate`: what a model is scored by, on a text. */
export function evaluateCommand(interruption: Interruption): Command {
  const command = new Command('evaluate').description(
    'perplexity of a model, or the loss of what its head predicts, and of a plan beside it',
  )
  withModelOptions(command)
    .option('--plan <plan.json|run>', 'measure the model without what this plan removes, too')
    .option('--steps <k>', 'use the first k steps of the plan only', wholeNumber)
    .addOption(
      new Option('--curve', 'measure every step of the plan in one pass, and write it beside plan.json').conflicts(
        'steps',
      ),
    )
    .addOption(
      new Option('--continuations <n>', 'show what dense and pruned model write behind so many prompts, 0 to 5')
        .argParser(wholeNumber)
        .conflicts('curve'),
    )
    .option('--allow-other-model', 'accept a plan made for other weights')
  withTextOptions(command, { dataset: 'embedded:test', nsamples: defaultRows })
  return withOutputOptions(command).action(async (options: EvaluateOptions) => {
    const request = {
      ...options,
      onDevice,
      rows: { ...rowsRequest(options, defaultRows), onWarning },
      signal: interruption.signal,
    }
    if (options.curve) {
      if (options.plan === undefined) throw new PlanError('--curve: measures the steps of a plan; give --plan')
      const { file, path } = await evaluateCurve({ ...request, plan: options.plan })
      process.stdout.write(options.json ? `${JSON.stringify(file)}\n` : `${curveText(file)}\n\nwritten to ${path}\n`)
      return
    }
    const result = await evaluateModel(request)
    process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : `${textOf(result)}\n`)
  })
}

const onWarning = (message: string) => process.stderr.write(`warning: ${message}\n`)

/** The steps of a curve, one a line. */
function curveText({ task, text, heldOut, points, method }: CurveFile): string {
  const { name, unit } = taskLosses[task]
  const [dense] = points
  // perplexities are compared by their ratio, losses by their difference
  const above = (loss: number) =>
    task === 'nextToken' ? Math.exp(loss - dense!.loss).toFixed(3) : (loss - dense!.loss).toFixed(5)
  const { source, rows, rowLength, bos, prediction } = text
  return [
    `${method}, measured on ${source}${standingOf(heldOut)}`,
    `${rows} rows of ${rowLength}, BOS: ${bos}${prediction === undefined ? '' : `; ${prediction}`}`,
    '',
    table([
      ['step', 'removed', name, task === 'nextToken' ? '× dense' : 'above dense', '±', 'parameters', 'removed %'],
      ...points.map(({ step, removed, loss, standardError, parameters, ratio }) => [
        `${step}`,
        step === 0 ? 'nothing' : removed.join(' '),
        shownLoss(task, loss),
        above(loss),
        standardError?.toFixed(5) ?? '—',
        `${parameters}`,
        (ratio * 100).toFixed(1),
      ]),
    ]),
    '',
    `± is the standard error of the loss over rows, ${unit}`,
  ].join('\n')
}

function standingOf(heldOut: boolean | undefined): string {
  if (heldOut === undefined) return ''
  return heldOut ? ', held out' : ', NOT held out: it overlaps the calibration text of the plan'
}

function textOf(result: EvaluateResult): string {
  const { source, bos, heldOut, prediction, pruned, parameters, samples } = result
  return [
    `${source}${standingOf(heldOut)}`,
    `${measuredOn(result)}, BOS: ${bos}${prediction === undefined ? '' : `; ${prediction}`}`,
    '',
    table([
      ['', 'dense', ...(pruned ? ['pruned'] : [])],
      ['parameters', `${parameters.dense}`, ...(pruned ? [`${parameters.pruned}`] : [])],
      ...comparisonRows(result),
    ]),
    ...(samples ? ['', samplesText(samples)] : []),
  ].join('\n')
}
