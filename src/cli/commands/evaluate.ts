import { Command } from 'commander'
import type { PerplexityReport } from '../../evaluate/perplexity.ts'
import { type EvaluateResult, evaluateModel } from '../../run/evaluateModel.ts'
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

/** `blockpruner evaluate`: perplexities on a text. */
export function evaluateCommand(interruption: Interruption): Command {
  const command = new Command('evaluate').description('perplexity of a model, and of a plan beside it')
  withModelOptions(command)
    .option('--plan <plan.json>', 'measure the model without what this plan removes, too')
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

function textOf({ source, bos, heldOut, dense, pruned, parameters }: EvaluateResult): string {
  const reports = pruned === undefined ? [dense] : [dense, pruned]
  const row = (name: string, value: (report: PerplexityReport) => string) => [name, ...reports.map(value)]
  const standing =
    heldOut === undefined ? '' : heldOut ? ', held out' : ', NOT held out: it overlaps the calibration text of the plan'
  return [
    `${source}${standing}`,
    `${dense.predictedTokens} predicted tokens, ${dense.rows} rows of ${dense.rowLength}, BOS: ${bos}`,
    '',
    table([
      ['', 'dense', ...(pruned ? ['pruned'] : [])],
      ['parameters', `${parameters.dense}`, ...(pruned ? [`${parameters.pruned}`] : [])],
      row('perplexity, token-pooled', (report) => report.tokenPooled.toFixed(4)),
      row('perplexity, sequence-mean', (report) => report.sequenceMean.toFixed(4)),
      row('nats per token', (report) => report.natsPerToken.toFixed(5)),
      row('standard error', (report) => report.standardError.toFixed(5)),
    ]),
  ].join('\n')
}
