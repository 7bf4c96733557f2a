import { EngineError } from '../errors.ts'
import { type Engine, measureOn } from '../measures/measurement.ts'
import type { PruningPlan, StopSignal, TokenRows } from '../types.ts'

export interface ContinuationOptions {
  /** Tokens to add, at most. */
  readonly tokens: number
  /** Ids that end a text; none of them is part of what is returned. */
  readonly ends: ReadonlySet<number>
  readonly signal?: StopSignal | undefined
  /** Called after each token with how many of `tokens` are done. */
  readonly onToken?: ((done: number) => void) | undefined
}

/**
 * What a decoder without what `plan` removes writes after each prompt: always the likeliest next token, the lowest id of equals, as
 * transformers' `generate(do_sample=False)` does. Every token is a pass over the whole text so far; there is no cache of keys and
 * values, which comes with the generator that tasks of free text will need. Throws `EngineError` for logits that are no numbers.
 */
export async function continuations(
  engine: Pick<Engine, 'put' | 'measure'>,
  plan: PruningPlan,
  prompts: readonly Int32Array[],
  { tokens, ends, signal, onToken }: ContinuationOptions,
): Promise<number[][]> {
  const written = prompts.map((): number[] => [])
  const hasEnded = prompts.map(() => false)
  for (let done = 0; done < tokens && hasEnded.includes(false); done++) {
    signal?.throwIfAborted()
    const open = prompts.flatMap((_, i) => (hasEnded[i] ? [] : [i]))
    const rows = paddedAtEnd(open.map((i) => [...prompts[i]!, ...written[i]!]))
    const [logits] = await measureOn(engine, rows, { plans: [plan], measure: { name: 'lastLogits' } }, { signal })
    const vocabulary = logits!.length / rows.rows
    for (const [row, i] of open.entries()) {
      const next = likeliest(logits!.subarray(row * vocabulary, (row + 1) * vocabulary))
      if (ends.has(next)) hasEnded[i] = true
      else written[i]!.push(next)
    }
    onToken?.(done + 1)
  }
  return written
}

/** Rows of one length: no token of a decoder sees what comes after it, so any id will do behind the last. */
function paddedAtEnd(texts: readonly (readonly number[])[]): TokenRows {
  const rowLength = Math.max(...texts.map(({ length }) => length))
  const ids = new Int32Array(texts.length * rowLength)
  for (const [row, text] of texts.entries()) ids.set(text, row * rowLength)
  return { ids, rows: texts.length, rowLength, lengths: Int32Array.from(texts, ({ length }) => length) }
}

function likeliest(logits: Float32Array): number {
  let best = 0
  for (const [id, logit] of logits.entries()) {
    if (Number.isNaN(logit))
      throw new EngineError(`the logit of token ${id} is ${logit}, expected a number; leave more in the model`)
    if (logit > logits[best]!) best = id
  }
  return best
}
