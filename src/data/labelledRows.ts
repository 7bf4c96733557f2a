import { CalibrationError } from '../errors.ts'
import { objectOf } from '../model/configValue.ts'
import type { ModelConfig } from '../types.ts'
import { describeRows, type PackedRows } from './calibration.ts'
import { paddedRows } from './paddedRows.ts'
import { cutTo } from './pairRows.ts'
import type { Tokenizer } from './tokenizer.ts'

export interface LabelledText {
  readonly text: string
  /** A class by its number or by its name in config.json's `label2id`. */
  readonly label: unknown
}

export interface LabelOptions {
  readonly source: string
  readonly config: ModelConfig
  /** Number of classes. */
  readonly classes: number
  readonly padTokenId: number
  /** Tokens of a text at most; longer ones are cut, their last token kept. */
  readonly rowLength: number
}

/**
 * Labelled texts as a classifier reads them, one a row, the first position to predict the class. Throws `CalibrationError` naming
 * the row of a label that the model does not have.
 */
export function labelledRows(
  texts: readonly LabelledText[],
  tokenizer: Tokenizer,
  { source, config, classes, padTokenId, rowLength }: LabelOptions,
): PackedRows {
  const encoded = texts.map(({ text }) => cutTo(tokenizer.encode(text, { addSpecialTokens: true }), rowLength))
  const rows = paddedRows(source, encoded, padTokenId)
  const names = objectOf(config, 'label2id') ?? {}
  const targets = new Int32Array(rows.ids.length).fill(-1)
  for (const [row, { label }] of texts.entries()) {
    const id = classOf(label, names)
    if (id === undefined || !Number.isInteger(id) || id < 0 || id >= classes) {
      const known = Object.keys(names).join(', ')
      throw new CalibrationError(
        `${source}: the label of row ${row} is ${JSON.stringify(label)}, expected 0 to ${classes - 1}${known && ` or ${known}`}; name another column, or is it another model's data?`,
      )
    }
    targets[row * rows.rowLength] = id
  }
  return {
    ...rows,
    targets,
    description: { ...describeRows(source, rows, 'none'), prediction: 'the class of each row' },
  }
}

function classOf(label: unknown, names: Readonly<Record<string, unknown>>): number | undefined {
  if (typeof label === 'number') return label
  if (typeof label === 'bigint' || typeof label === 'boolean') return Number(label)
  if (typeof label !== 'string') return undefined
  const named = Object.hasOwn(names, label) ? names[label] : undefined
  if (typeof named === 'number') return named
  return /^\d+$/.test(label) ? Number(label) : undefined
}
