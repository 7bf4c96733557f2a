import { basename } from 'node:path'
import { shownLoss, type Task, taskLosses } from '../model/task.ts'
import type { Block } from '../types.ts'
import type { DenseCard } from './denseCard.ts'
import type { ExportForm } from './layout.ts'
import { publicName } from './publicName.ts'

/** A loss before and after, with what made the numbers. */
export interface MeasuredLoss {
  /** What the model was scored by; of next tokens the card shows perplexities. */
  readonly task: Task
  /** Data set and split: `wikitext2:test`. */
  readonly dataset: string
  readonly tokens: number
  readonly rowLength: number
  /** Every row begins with the beginning-of-sequence token. */
  readonly startsWithBos: boolean
  /** What the rows predict, where it is not the next token: `9 masked tokens a row`. */
  readonly prediction?: string | undefined
  readonly dense: number
  readonly pruned: number
}

export interface ModelCard {
  /** What the model was opened as; only its last part is shown. */
  readonly modelId: string
  /** What the head of the model predicts: names the class that loads it. */
  readonly task: Task
  /** Hub id of the dense model. */
  readonly baseModel?: string | undefined
  /** Licence identifier of the hub: `apache-2.0`. */
  readonly license?: string | undefined
  /** What the card of the dense model says that still holds; a licence of its own goes before. */
  readonly dense?: DenseCard | undefined
  /** How the blocks were chosen: `BlockPruner, 128 rows of wikitext2:train`. */
  readonly method?: string | undefined
  readonly form: ExportForm
  readonly layers: { readonly dense: number; readonly pruned: number }
  readonly parameters: { readonly dense: number; readonly pruned: number }
  readonly removed: readonly Block[]
  /** Units gone from the blocks that stay. */
  readonly narrowed: readonly { readonly block: Block; readonly removedUnits: number }[]
  readonly measured?: MeasuredLoss | undefined
}

/** README.md of an export: what was removed, what it cost, how to load it. The numbers are the caller's. */
export function modelCard(card: ModelCard): string {
  const name = card.baseModel ?? basename(card.modelId)
  return [
    frontMatter(card),
    `# ${name}, pruned`,
    '',
    `Structure was left out of this model with [blockpruner](https://www.npmjs.com/package/blockpruner)${card.method === undefined ? '' : ` (${card.method})`}. The weights that remain are unchanged.`,
    '',
    '| | dense | pruned |',
    '|---|---:|---:|',
    `| parameters | ${grouped(card.parameters.dense)} | ${grouped(card.parameters.pruned)} (${percent(card.parameters)}) |`,
    `| layers | ${card.layers.dense} | ${card.layers.pruned} |`,
    ...measuredRow(card.measured),
    '',
    ...measuredNote(card.measured),
    '## Removed',
    '',
    ...removedTable(card),
    '',
    '## Loading',
    '',
    ...loading(card),
    '',
  ].join('\n')
}

function frontMatter({ baseModel, license, dense = {}, form }: ModelCard): string {
  const said = license === undefined ? dense : { ...dense, license }
  const lines = [
    ...(baseModel === undefined ? [] : [`base_model: ${JSON.stringify(baseModel)}`]),
    // a JSON text is a YAML text
    ...Object.entries(said).map(([key, value]) => `${key}: ${JSON.stringify(value)}`),
    'library_name: transformers',
    'tags:',
    '- pruned',
    '- blockpruner',
    ...(form === 'custom' ? ['- custom_code'] : []),
  ]
  return ['---', ...lines, '---', ''].join('\n')
}

function measuredRow(measured: MeasuredLoss | undefined): string[] {
  if (measured === undefined) return []
  const { task, dataset, dense, pruned } = measured
  return [
    `| ${taskLosses[task].name}, ${cell(publicName(dataset))} | ${shownLoss(task, dense)} | ${shownLoss(task, pruned)} |`,
  ]
}

function measuredNote(measured: MeasuredLoss | undefined): string[] {
  if (measured === undefined) return ['What this cost was not measured for this card.', '']
  const { task, tokens, rowLength, startsWithBos, prediction } = measured
  const over = `over ${grouped(tokens)} tokens in rows of ${grouped(rowLength)}`
  if (task === 'nextToken') {
    const bos = startsWithBos ? 'each beginning with the BOS token' : 'without a BOS token'
    return [`Perplexity is per token, ${over}, ${bos}${prediction === undefined ? '' : `: ${prediction}`}.`, '']
  }
  if (task === 'hiddenStates') {
    return [`The distance is 1 - cosine of the final hidden states to the dense model's, the mean ${over}.`, '']
  }
  const { name, unit } = taskLosses[task]
  return [`The ${name} is in ${unit}, ${over}${prediction === undefined ? '' : `: ${prediction}`}.`, '']
}

function removedTable({ removed, narrowed }: ModelCard): string[] {
  if (removed.length === 0 && narrowed.length === 0) return ['Nothing.']
  const rows = [
    ...removed.map((block) => [block, 'all', block.parameters] as const),
    ...narrowed.map(({ block, removedUnits }) => {
      const unit = block.kind === 'mlp' ? 'channels' : 'key/value heads with their query heads'
      return [block, `${removedUnits} of ${block.units} ${unit}`, undefined] as const
    }),
  ]
  return [
    'Layers are numbered as in the dense model.',
    '',
    '| block | removed | parameters |',
    '|---|---|---:|',
    ...rows.map(
      ([{ id }, what, parameters]) =>
        `| \`${id}\` | ${what} | ${parameters === undefined ? '' : grouped(parameters)} |`,
    ),
  ]
}

/** The class of transformers that loads a model with the head of a task. */
const autoClasses: Readonly<Record<Task, string>> = {
  nextToken: 'AutoModelForCausalLM',
  maskedToken: 'AutoModelForMaskedLM',
  rowClass: 'AutoModelForSequenceClassification',
  spanCorruption: 'AutoModelForSeq2SeqLM',
  pairs: 'AutoModelForSeq2SeqLM',
  hiddenStates: 'AutoModel',
}

function loading({ form, task }: ModelCard): string[] {
  const loader = autoClasses[task]
  const remote = form === 'custom'
  const reason: Record<ExportForm, string> = {
    whole: 'A stock checkpoint with fewer layers: any software that loads the dense model loads this one.',
    repacked:
      'A stock checkpoint: the attention of one layer and the MLP of a later one make a layer together. Any software that loads the dense model loads this one.',
    custom:
      'Some layers lack a branch or are narrower than others, which no stock class can say: `modeling_blockpruner.py` in this folder does. Read it before trusting it.',
  }
  return [
    reason[form],
    '',
    '```python',
    `from transformers import ${loader}, AutoTokenizer`,
    '',
    `model = ${loader}.from_pretrained("path/to/this/folder", dtype="auto"${remote ? ', trust_remote_code=True' : ''})`,
    'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")',
    '```',
  ]
}

const grouped = (value: number): string => value.toLocaleString('en-US')

const percent = ({ dense, pruned }: ModelCard['parameters']): string => `${((100 * pruned) / dense).toFixed(1)} %`

/** Text inside a table cell. */
const cell = (text: string): string => text.replace(/[|\r\n]/g, ' ')
