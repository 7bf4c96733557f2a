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

/** What people call the loss of a task, and what it counts. */
export interface TaskLoss {
  readonly name: string
  /** Its name in a journal. */
  readonly measure: string
  readonly unit: string
}

export const taskLosses: Readonly<Record<Task, TaskLoss>> = {
  nextToken: { name: 'perplexity', measure: 'perplexity', unit: 'nats per token' },
  maskedToken: { name: 'masked-LM loss', measure: 'masked-lm', unit: 'nats per masked token' },
  rowClass: { name: 'classification loss', measure: 'classification', unit: 'nats per row' },
  spanCorruption: { name: 'span-corruption loss', measure: 'span-corruption', unit: 'nats per target token' },
  pairs: { name: 'loss of the targets', measure: 'pairs', unit: 'nats per target token' },
  hiddenStates: { name: 'hidden-state distance', measure: 'hidden-cosine', unit: '1 - cosine' },
}

/** A loss as people read it: of next tokens its exponential, the perplexity; every other one as it is. */
export function shownLoss(task: Task, loss: number): string {
  return task === 'nextToken' ? Math.exp(loss).toFixed(3) : loss.toFixed(5)
}
