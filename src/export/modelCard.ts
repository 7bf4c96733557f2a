import { basename } from 'node:path'
import type { Block } from '../types.ts'
import type { ExportForm } from './layout.ts'

/** Perplexity before and after, with what made the numbers. */
export interface MeasuredPerplexity {
  /** Data set and split: `wikitext2:test`. */
  readonly dataset: string
  readonly tokens: number
  readonly rowLength: number
  /** Every row begins with the beginning-of-sequence token. */
  readonly startsWithBos: boolean
  readonly dense: number
  readonly pruned: number
}

export interface ModelCard {
  /** What the model was opened as; only its last part is shown. */
  readonly modelId: string
  /** Hub id of the dense model. */
  readonly baseModel?: string | undefined
  /** Licence identifier of the hub: `apache-2.0`. */
  readonly license?: string | undefined
  /** How the blocks were chosen: `BlockPruner, 128 rows of wikitext2:train`. */
  readonly method?: string | undefined
  readonly form: ExportForm
  readonly layers: { readonly dense: number; readonly pruned: number }
  readonly parameters: { readonly dense: number; readonly pruned: number }
  readonly removed: readonly Block[]
  /** Units gone from the blocks that stay. */
  readonly narrowed: readonly { readonly block: Block; readonly removedUnits: number }[]
  readonly measured?: MeasuredPerplexity | undefined
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
    ...loading(card.form),
    '',
  ].join('\n')
}

function frontMatter({ baseModel, license, form }: ModelCard): string {
  const lines = [
    ...(baseModel === undefined ? [] : [`base_model: ${JSON.stringify(baseModel)}`]),
    ...(license === undefined ? [] : [`license: ${JSON.stringify(license)}`]),
    'library_name: transformers',
    'tags:',
    '- pruned',
    '- blockpruner',
    ...(form === 'custom' ? ['- custom_code'] : []),
  ]
  return ['---', ...lines, '---', ''].join('\n')
}

function measuredRow(measured: MeasuredPerplexity | undefined): string[] {
  if (measured === undefined) return []
  return [`| perplexity, ${cell(measured.dataset)} | ${measured.dense.toFixed(3)} | ${measured.pruned.toFixed(3)} |`]
}

function measuredNote(measured: MeasuredPerplexity | undefined): string[] {
  if (measured === undefined) return ['Its perplexity was not measured for this card.', '']
  const bos = measured.startsWithBos ? 'each beginning with the BOS token' : 'without a BOS token'
  return [
    `Perplexity is per token, over ${grouped(measured.tokens)} tokens in rows of ${grouped(measured.rowLength)}, ${bos}.`,
    '',
  ]
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

function loading(form: ExportForm): string[] {
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
    'from transformers import AutoModelForCausalLM, AutoTokenizer',
    '',
    `model = AutoModelForCausalLM.from_pretrained("path/to/this/folder", dtype="auto"${remote ? ', trust_remote_code=True' : ''})`,
    'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")',
    '```',
  ]
}

const grouped = (value: number): string => value.toLocaleString('en-US')

const percent = ({ dense, pruned }: ModelCard['parameters']): string => `${((100 * pruned) / dense).toFixed(1)} %`

/** Text inside a table cell. */
const cell = (text: string): string => text.replace(/[|\r\n]/g, ' ')
