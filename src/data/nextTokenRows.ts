import { CalibrationError } from '../errors.ts'
import type { Model } from '../model/model.ts'
import { type PackedRows, packRows } from './calibration.ts'
import { loadChatTemplate } from './chatTemplate.ts'
import { conversationColumns } from './conversation.ts'
import { conversationRows, type LossOn } from './conversationRows.ts'
import { plainTexts, readExamples } from './textSource.ts'
import type { Tokenizer } from './tokenizer.ts'

/** Where the rows of a model that predicts the next token come from, how many and how long. */
export interface NextTokenRowsRequest {
  /** What `readTable` takes. */
  readonly dataset: string
  readonly column?: string | undefined
  /** Rows; undefined: as many as there are. */
  readonly rows?: number | undefined
  /** Tokens a row; of conversations, at most. */
  readonly rowLength: number
  /** Draw this many texts or conversations with `seed` and take only those. */
  readonly texts?: number | undefined
  readonly seed: number
  readonly bosEveryRow?: boolean | undefined
  /** Of conversations: what the loss counts; default all. */
  readonly lossOn?: LossOn | undefined
}

/**
 * Texts packed into rows, or conversations, one a row, by the model's chat template. Prompts and Alpaca's rows are packed as plain
 * texts where the model has no template. Throws `CalibrationError` for too little of it, and for answers asked of plain texts.
 */
export async function nextTokenRows(
  model: Model,
  tokenizer: Tokenizer,
  request: NextTokenRowsRequest,
): Promise<PackedRows> {
  const { dataset, column, rows, rowLength, texts, seed, bosEveryRow = false, lossOn = 'all' } = request
  const draw = texts === undefined ? undefined : { texts, seed }
  const found = await readExamples(dataset, column === undefined ? {} : { column })
  const template = 'texts' in found ? undefined : await loadChatTemplate(model.assets)
  const plain = 'texts' in found ? found : template === undefined ? plainTexts(found) : undefined
  if ('texts' in found || (lossOn === 'all' && plain !== undefined)) {
    if (lossOn === 'answers') {
      throw new CalibrationError(
        `--loss-on answers: ${found.name} holds plain texts, which have no answers; give conversations in columns ${conversationColumns}, or --eval-loss-on all for an --eval-dataset`,
      )
    }
    return packRows(plain!, tokenizer, {
      ...{ rowLength, bosEveryRow },
      ...(rows !== undefined && { rows }),
      ...(draw && { draw }),
    })
  }
  const pad = model.config['pad_token_id']
  return conversationRows(found, tokenizer, {
    ...{ template, lossOn, rowLength, rows, draw, bosEveryRow },
    // no token sees it: any will do
    padTokenId: typeof pad === 'number' && pad >= 0 && pad < model.sizes['V']! ? pad : 0,
  })
}
