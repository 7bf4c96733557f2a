import { Command } from 'commander'
import { type EvaluateResult, evaluateModel } from '../../run/evaluateModel.ts'
import { comparisonRows, measuredOn } from '../comparison.ts'
import type { Interruption } from '../interruption.ts'
import {
  rowsRequest,
  type SharedOptions,
  type TextOptions,
  wholeNumber,
  withModelOptions,
  withOutputOptions,
  withTextOptions,
} from '../options.ts'
import { table } from '../table.ts'

interface EvaluateOptions extends SharedOptions, TextOptions {
  readonly plan?: string
  readonly steps?: number
  readonly allowOtherModel?: true
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
    .option('--allow-other-model', 'accept a plan made for other weights')
  withTextOptions(command, { dataset: 'embedded:test', nsamples: defaultRows })
  return withOutputOptions(command).action(async (options: EvaluateOptions) => {
    const result = await evaluateModel({
      ...options,
      rows: rowsRequest(options, defaultRows),
      signal: interruption.signal,
    })
    process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : `${textOf(result)}\n`)
  })
}

function textOf(result: EvaluateResult): string {
  const { source, bos, heldOut, prediction, pruned, parameters } = result
  const standing =
    heldOut === undefined ? '' : heldOut ? ', held out' : ', NOT held out: it overlaps the calibration text of the plan'
  return [
    `${source}${standing}`,
    `${measuredOn(result)}, BOS: ${bos}${prediction === undefined ? '' : `; ${prediction}`}`,
    '',
    table([
      ['', 'dense', ...(pruned ? ['pruned'] : [])],
      ['parameters', `${parameters.dense}`, ...(pruned ? [`${parameters.pruned}`] : [])],
      ...comparisonRows(result),
    ]),
  ].join('\n')
}
