import type { Model } from './model.ts'

/** What a model is scored by. */
export type Task =
  /** Each token from those before it. */
  | 'nextToken'
  /** Tokens hidden at random from those around them. */
  | 'maskedToken'
  /** The class of a labelled text. */
  | 'rowClass'
  /** Spans cut out of a text, by an encoder-decoder. */
  | 'spanCorruption'
  /** The target text of a pair from its source, each token from the right ones before it. */
  | 'pairs'
  /** Nothing: how far its hidden states move. */
  | 'hiddenStates'

/** Every task, as the command line names it. */
export const taskNames: readonly Task[] = [
  'nextToken',
  'maskedToken',
  'rowClass',
  'spanCorruption',
  'pairs',
  'hiddenStates',
]

/** The tasks that `model` can be scored by, the one to take unless asked otherwise first. */
export function tasksOf({ architecture, config, outer }: Model): readonly Task[] {
  if (architecture.family === 'encoderDecoder') return ['spanCorruption', 'pairs', 'hiddenStates']
  const head = architecture.head(config, outer)
  if (head === undefined) return ['hiddenStates']
  if (architecture.family === 'decoder') return ['nextToken', 'hiddenStates']
  if (head.readsFirst) return ['rowClass', 'hiddenStates']
  return head.weight === 'classifier' ? ['hiddenStates'] : ['maskedToken', 'hiddenStates']
}
