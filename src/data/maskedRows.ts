import { Random } from '../tensor/random.ts'
import type { PackedRows } from './calibration.ts'
import type { FramedRows } from './framedRows.ts'

export interface MaskOptions {
  /** The token that stands for a hidden one. */
  readonly maskTokenId: number
  readonly vocabSize: number
  readonly seed: number
  /** Share of a row's text that is to be predicted, 0..1; default 0.15. */
  readonly share?: number
  /**
   * What stands in place of a token that is to be predicted: the mask for 80 %, a random token for 10 %, the token itself for the
   * rest, as BERT was trained (arXiv:1810.04805, section 3.1); or the mask for all. Default `mixed`.
   */
  readonly scheme?: 'mixed' | 'mask'
}

/**
 * Rows with tokens to predict: in each the same number of places, drawn once with the seed, so that every plan is asked the
 * same. Special tokens around the text are not predicted.
 */
export function maskedRows(rows: FramedRows, options: MaskOptions): PackedRows {
  const { maskTokenId, vocabSize, seed, share = 0.15, scheme = 'mixed' } = options
  if (!(share > 0 && share < 1)) throw new RangeError(`share is a number between 0 and 1, found ${share}`)
  const { rowLength, framing } = rows
  const textStart = framing.opening.length
  const textLength = rowLength - textStart - framing.closing.length
  const masked = Math.max(1, Math.round(share * textLength))
  const random = new Random(seed)
  const ids = rows.ids.slice()
  const targets = new Int32Array(ids.length).fill(-1)
  for (let row = 0; row < rows.rows; row++) {
    for (const place of random.sample(textLength, masked)) {
      const i = row * rowLength + textStart + place
      targets[i] = ids[i]!
      const draw = random.uniform()
      if (scheme === 'mask' || draw < 0.8) ids[i] = maskTokenId
      else if (draw < 0.9) ids[i] = random.below(vocabSize)
    }
  }
  const shown = scheme === 'mask' ? 'all shown as the mask' : '80 % shown as the mask, 10 % as another'
  const prediction = `${masked} masked tokens a row, ${shown}, seed ${seed}`
  return { ids, rows: rows.rows, rowLength, targets, description: { ...rows.description, prediction } }
}
