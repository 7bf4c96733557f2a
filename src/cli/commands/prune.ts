import { Command, Option } from 'commander'
import type { LossOn } from '../../data/conversationRows.ts'
import { PlanError } from '../../errors.ts'
import { partsOfList } from '../../model/blockList.ts'
import { shownLoss, taskLosses } from '../../model/task.ts'
import { defaultBudget, type RatioRule, ratioRules } from '../../run/budget.ts'
import type { Latency } from '../../run/planFile.ts'
import { pruneAny } from '../../run/pruneModel.ts'
import type { PruneModelRequest, PruneModelResult } from '../../run/pruneRequest.ts'
import type { BlockKind, LossArithmetic, PruningPlan } from '../../types.ts'
import { comparisonRows } from '../comparison.ts'
import { agreementOf, type ExportOptions, linesOf, sizesText, withExportOptions } from '../exportOptions.ts'
import type { Interruption } from '../interruption.ts'
import { givenMethodOptions, givenSearchOptions, withMethodOptions, withSearchOptions } from '../methodOptions.ts'
import {
  count,
  decimalNumber,
  listOf,
  rowsRequest,
  type SharedOptions,
  type TextOptions,
  wholeNumber,
  withModelOptions,
  withOutputOptions,
  withTextOptions,
} from '../options.ts'
import { startProgress } from '../progress.ts'
import { samplesText } from '../samplesText.ts'
import { table } from '../table.ts'
import { whatAFifthDid } from '../whatRatiosCost.ts'

interface PruneOptions extends SharedOptions, TextOptions, ExportOptions {
  readonly output: string
  readonly method?: string
  readonly keepBlocks?: string[]
  readonly keepFirst?: number
  readonly keepLast?: number
  readonly kinds?: BlockKind[]
  readonly outputNorms: 'keep' | 'drop'
  readonly remove?: number | 'all'
  readonly ratio?: number
  readonly ratioRule?: RatioRule
  readonly size?: number
  readonly kvBytes?: number
  readonly speedup?: number
  readonly evalDataset?: string
  readonly evalSeqlen?: number
  readonly evalNsamples: number
  readonly evalLossOn?: LossOn
  readonly export: boolean
  readonly arithmetic: LossArithmetic
  readonly search?: string
  readonly layout?: string
  readonly objective?: string
  readonly checkRows?: number
  readonly continuations?: number
}

const defaultRows = 16

/** `blockpruner prune`: search, plan, smaller checkpoint. */
export function pruneCommand(interruption: Interruption): Command {
  const command = new Command('prune')
    .description('find the blocks whose removal hurts least, and write the smaller model')
    .addHelpText('after', helpAfter)
  withModelOptions(command.optionsGroup('Model:'))
  withAmountOptions(command.optionsGroup('How much, and what stays:'))
  withMethodOptions(command.optionsGroup('Method (each has options of its own: blockpruner methods NAME):'), [
    'removeBlocks',
  ])
    .option(
      '--kinds <list>',
      'kinds of blocks that may go: attention, crossAttention, mlp (default: all that the model has)',
      listOf<BlockKind>(['attention', 'crossAttention', 'mlp']),
    )
    .addOption(
      new Option('--output-norms <what>', 'keep or drop the norm behind a removed branch, as BERT and BART have one')
        .choices(['keep', 'drop'])
        .default('keep'),
    )
  withSearchOptions(command.optionsGroup('Search (each has options of its own: blockpruner methods NAME):'))
    .option('--layout <name>', 'any (default), or stock: only plans that are stock checkpoints')
    .option('--objective <list>', 'perplexity (default), kl, js, or the mean of several: what the search compares')
    .option(
      '--check-rows <n>',
      'rows kept from the search to check each step on (default: 0; with --layout stock a quarter)',
      wholeNumber,
    )
  withTextOptions(command.optionsGroup('Text:'), { dataset: 'embedded', nsamples: defaultRows })
    .option('--eval-dataset <source>', 'measure dense and pruned model on this text as well')
    .option('--eval-seqlen <t>', 'tokens a row of that text (default: as --seqlen)', count)
    .option('--eval-nsamples <n>', 'rows of that text', count, 64)
    .addOption(
      new Option('--eval-loss-on <what>', 'what the loss of that text counts (default: as --loss-on)').choices([
        'all',
        'answers',
      ]),
    )
    .addOption(
      new Option('--arithmetic <name>', "precise, or released: float32 sums as in the authors' code")
        .choices(['precise', 'released'])
        .default('precise'),
    )
  withExportOptions(command.optionsGroup('Exports:').option('--no-export', 'stop at the plan'))
  command
    .optionsGroup('Output:')
    .requiredOption('--output <dir>', 'run directory: plan.json, journal.jsonl, model/')
    .option(
      '--continuations <n>',
      'prompts that dense and pruned model continue at the end, 0 to 5 (default: 3 in a text result of a decoder; 48 short passes)',
      wholeNumber,
    )
  return withOutputOptions(command).action(async (options: PruneOptions) => {
    interruption.advise(`interrupted; the same command again resumes the run in ${options.output}`)
    const progress = startProgress(options.quiet === true ? 'none' : process.stderr.isTTY ? 'bar' : 'lines')
    try {
      const result = await pruneAny({
        ...options,
        methodOptions: givenMethodOptions(command),
        searching: {
          ...givenSearchOptions(command),
          search: options.search,
          layout: options.layout,
          checkRows: options.checkRows,
          objectives: options.objective?.split(',').map((name) => name.trim()),
        },
        continuations: options.continuations ?? (options.json ? 0 : 'ifAny'),
        formats: options.format,
        budget: budgetOf(options),
        calibration: rowsRequest(options, defaultRows),
        evaluation: evaluationOf(options),
        signal: interruption.signal,
        onProgress: progress.report,
      })
      progress.stop()
      process.stdout.write(options.json ? `${JSON.stringify(jsonOf(result))}\n` : `${textOf(result)}\n`)
    } finally {
      progress.stop()
    }
  })
}

function withAmountOptions(command: Command): Command {
  const budget = (flags: string, says: string, parse: (text: string) => unknown, others: readonly string[]) =>
    command.addOption(new Option(flags, says).argParser(parse).conflicts([...others]))
  budget('--ratio <r>', `remove this share of all parameters (default: 0.1; ${whatAFifthDid})`, decimalNumber, [])
  budget('--remove <n>', 'remove this many blocks, or `all` to rank them', blocksOrAll, ['ratio'])
  budget('--size <mb>', 'until the exported tensors have this many megabytes', decimalNumber, ['ratio', 'remove'])
  budget('--kv-bytes <n>', 'until the key/value cache needs this many bytes a token, two an element', wholeNumber, [
    'ratio',
    'remove',
    'size',
  ])
  budget('--speedup <x>', 'until a pass over one row is x times as fast here as the dense model', decimalNumber, [
    'ratio',
    'remove',
    'size',
    'kvBytes',
  ])
  command.addOption(
    new Option(
      '--ratio-rule <rule>',
      'beside a ratio that no step meets: at-least (default), nearest or at-most',
    ).choices(ratioRules),
  )
  return command
    .option(
      '--keep-blocks <list>',
      'blocks, layers and ranges of layers that stay, as decoder.3,decoder.7.mlp',
      partsOfList,
    )
    .option('--keep-first <n>', 'keep the first layers of each stack', wholeNumber)
    .option('--keep-last <n>', 'keep the last layers of each stack', wholeNumber)
}

const blocksOrAll = (text: string) => (text === 'all' ? text : wholeNumber(text))

const helpAfter = `
Examples:
  $ blockpruner prune --model HuggingFaceTB/SmolLM2-135M --output run
  $ blockpruner prune --model model.gguf --remove 6 --format gguf --quantize Q8_0 --output run
  $ blockpruner prune --model ./checkpoint --remove-blocks decoder.20-24,decoder.7.mlp --output run`

function budgetOf(options: PruneOptions): PruneModelRequest['budget'] {
  const { remove, ratio, ratioRule, size, kvBytes, speedup } = options
  if (ratioRule !== undefined && [remove, size, kvBytes, speedup].some((other) => other !== undefined)) {
    throw new PlanError(`--ratio-rule ${ratioRule}: is about --ratio; leave it out`)
  }
  if (remove !== undefined) return remove === 'all' ? { remove } : { remove }
  if (size !== undefined) return { size }
  if (speedup !== undefined) return { speedup }
  if (kvBytes !== undefined) return { kvBytes }
  if (ratioRule !== undefined) return { ...defaultBudget, ...(ratio !== undefined && { ratio }), ratioRule }
  return ratio === undefined ? undefined : { ratio }
}

function evaluationOf(options: PruneOptions) {
  if (options.evalDataset === undefined) return undefined
  if (options.evalDataset === options.dataset && options.tokens === undefined) {
    throw new PlanError(
      `--eval-dataset ${options.evalDataset}: is the calibration text itself; give another split, such as embedded:test`,
    )
  }
  const { evalDataset, evalSeqlen = options.seqlen, evalNsamples, evalLossOn = options.lossOn } = options
  return {
    ...rowsRequest({ ...options, dataset: evalDataset, seqlen: evalSeqlen, nsamples: evalNsamples }, evalNsamples),
    lossOn: evalLossOn,
    tokens: undefined,
    texts: undefined,
  }
}

function speedText({ measured, foretold, seconds, rows, rowLength }: Latency, asked: unknown): string {
  const ms = (value: number) => (value * 1000).toPrecision(3)
  return (
    `speed: ${measured.toFixed(2)} x, asked for ${asked}, foretold ${foretold.toFixed(2)}; a pass over ${rows} x ${rowLength} tokens ` +
    `takes ${ms(seconds.pruned)} ms instead of ${ms(seconds.dense)} on this machine`
  )
}

function removedText({ blocks, units }: PruningPlan): string {
  const counts = Object.values(units).map((removed) => removed?.length ?? 0)
  const inside = counts.reduce((total, count) => total + count, 0)
  const whole = counted(blocks.length, 'block')
  if (inside === 0) return whole
  return `${whole} and ${counted(inside, 'channel or head group', 'channels or head groups')} inside ${counted(counts.length, 'other')}`
}

function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}

function jsonOf({ file, planPath, exportPath, export: written, evaluation, samples, others }: PruneModelResult) {
  return {
    planPath,
    ...file,
    ...(evaluation && { evaluation }),
    ...(samples && { samples }),
    ...(written && { export: { path: exportPath, ...written } }),
    ...(others && { others }),
  }
}

function textOf(result: PruneModelResult): string {
  const { file, planPath, exportPath, export: written, evaluation, denseBytes = 0, others = [] } = result
  const { task = 'nextToken', dense } = file
  const last = file.steps.at(-1)
  const lines = [
    table([
      ['', 'dense', 'pruned'],
      ['parameters', `${file.model.parameters}`, `${last?.parameters ?? file.model.parameters}`],
      [`${taskLosses[task].name}, calibration`, shownLoss(task, dense.loss), shownLoss(task, last?.loss ?? dense.loss)],
      ...(dense.check
        ? [
            [
              `${taskLosses[task].name}, check rows`,
              shownLoss(task, dense.check.loss),
              shownLoss(task, (last?.check ?? dense.check).loss),
            ],
          ]
        : []),
      ...(evaluation
        ? comparisonRows(evaluation).map(([name = '', ...values]) => [`${name}, ${evaluation.source}`, ...values])
        : []),
    ]),
    '',
    `removed ${removedText(file.plan)}, ${((last?.ratio ?? 0) * 100).toFixed(1)} % of the parameters${file.plan.blocks.length > 0 ? `: ${file.plan.blocks.join(' ')}` : ''}`,
    ...(file.latency ? [speedText(file.latency, file.options['speedup'])] : []),
    `plan: ${planPath}`,
  ]
  if (written) {
    lines.push(
      `model: ${exportPath}, ${sizesText(written.files, denseBytes)} (${written.form} form, reopened and equal to the plan), ${agreementOf(written.consumers)}`,
    )
  }
  lines.push(...linesOf(others, denseBytes))
  if (result.samples) lines.push('', samplesText(result.samples))
  return lines.join('\n')
}
