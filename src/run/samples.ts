import { join } from 'node:path'
import { loadChatTemplate } from '../data/chatTemplate.ts'
import { loadTokenizer, type Tokenizer } from '../data/tokenizer.ts'
import { PlanError, ToolkitError } from '../errors.ts'
import { continuations } from '../evaluate/continuations.ts'
import { planHash } from '../export/exportRecord.ts'
import { writeFileAtomic } from '../format/atomicFile.ts'
import type { Engine } from '../measures/measurement.ts'
import { readAsset } from '../model/chatTemplate.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan } from '../model/plan.ts'
import { trainedPositions } from '../model/trainedPositions.ts'
import type { PruningPlan, StopSignal } from '../types.ts'

/** What a model is asked to go on with: the beginning of a text, or, by its chat template, what a user says. */
export const samplePrompts = [
  { text: 'The capital of France is', turn: 'What is the capital of France?' },
  { text: 'To make a good cup of tea, first', turn: 'How do I make a good cup of tea?' },
  { text: 'When the children came home from school, they', turn: 'Tell me about a day at school in two sentences.' },
  { text: 'The best thing about winter is', turn: 'What is good about winter?' },
  { text: 'He opened the door and saw', turn: 'Begin a story in which somebody opens a door.' },
] as const

/** Samples that a run shows. */
export const defaultSamples = 3
/** Tokens of a sample, at most. */
const sampleTokens = 24

/** A prompt and what the dense and the pruned model write behind it. */
export interface Sample {
  readonly prompt: string
  readonly dense: string
  readonly pruned: string
}

/** Sample continuations, always of the likeliest token, as they stand in samples.json. */
export interface Samples {
  readonly version: 1
  readonly model: string
  /** Of what the pruned model leaves out. */
  readonly planSha256: string
  /** Whether prompts are turns of a user, in the model's chat template. */
  readonly chat: boolean
  /** Tokens of a continuation, at most. */
  readonly tokens: number
  readonly samples: readonly Sample[]
}

/** Prompts as a model reads them, made before a search so that what cannot be sampled is refused before it. */
export interface ReadyPrompts {
  readonly tokenizer: Tokenizer
  readonly chat: boolean
  readonly tokens: number
  readonly ends: ReadonlySet<number>
  readonly prompts: readonly { readonly text: string; readonly ids: Int32Array }[]
}

/**
 * The first `count` prompts for `model`; undefined for none. Throws `PlanError` for a number that is no number of prompts and for a
 * model that writes no text: no decoder, without a tokenizer, or with too few positions.
 */
export async function readyPrompts(model: Model, count: number): Promise<ReadyPrompts | undefined> {
  if (!(Number.isInteger(count) && count >= 0 && count <= samplePrompts.length)) {
    throw new PlanError(`--continuations ${count}: expected a whole number from 0 to ${samplePrompts.length}`)
  }
  if (count === 0) return undefined
  const refused = (why: string) => new PlanError(`--continuations ${count}: ${model.id} ${why}; leave it out`)
  if (model.architecture.family !== 'decoder') throw refused('is no decoder, so it continues no text')
  if (!model.assets.has('tokenizer.json')) throw refused('has no tokenizer.json to read a prompt with')
  const tokenizer = await loadTokenizer(model.assets, model.sizes['V']!)
  const template = await loadChatTemplate(model.assets)
  const prompts = samplePrompts.slice(0, count).map(({ text, turn }) => {
    const written = template?.render([{ role: 'user', content: turn }], { opensAnswer: true })
    return {
      text: template === undefined ? text : turn,
      ids: tokenizer.encode(written ?? text, { addSpecialTokens: written === undefined }),
    }
  })
  const longest = Math.max(...prompts.map(({ ids }) => ids.length))
  // learned positions are as many as the table of them has
  const positions = Math.min(
    ...[trainedPositions(model), model.sizes['P']].map((most) => most ?? Number.POSITIVE_INFINITY),
  )
  const tokens = Math.min(sampleTokens, positions - longest)
  if (tokens < 1) throw refused(`was trained on no more positions than the ${longest} tokens of a prompt`)
  return { tokenizer, chat: template !== undefined, tokens, ends: await endsOf(model), prompts }
}

/** The same where nobody asked for samples: none of a model that cannot be sampled, and a word about a file that should do. */
export async function promptsIfAny(
  model: Model,
  onWarning: (message: string) => void,
): Promise<ReadyPrompts | undefined> {
  if (model.architecture.family !== 'decoder' || !model.assets.has('tokenizer.json')) return undefined
  try {
    return await readyPrompts(model, defaultSamples)
  } catch (error) {
    if (!(error instanceof ToolkitError)) throw error
    // a calibration by ids needs no tokenizer
    if (!(error instanceof PlanError)) onWarning(`no sample continuations: ${error.message}`)
    return undefined
  }
}

/** What the dense model and `plan`'s write behind each prompt. */
export async function sample(
  model: Model,
  engine: Engine,
  plan: PruningPlan,
  { tokenizer, chat, tokens, ends, prompts }: ReadyPrompts,
  { signal, onToken }: { readonly signal?: StopSignal | undefined; readonly onToken?: (share: number) => void } = {},
): Promise<Samples> {
  const ids = prompts.map((prompt) => prompt.ids)
  const written = async (of: PruningPlan, before: number) => {
    const options = { tokens, ends, signal, onToken: (done: number) => onToken?.((before + done / tokens) / 2) }
    const found = await continuations(engine, of, ids, options)
    // decoded together with its prompt: some tokenizers drop the space before a first word
    return found.map((more, i) => textBehind(tokenizer, ids[i]!, more))
  }
  const dense = await written(emptyPlan, 0)
  const pruned = await written(plan, 1)
  return {
    version: 1,
    model: model.id,
    planSha256: planHash(plan, model.applied),
    ...{ chat, tokens },
    samples: prompts.map(({ text }, i) => ({ prompt: text, dense: dense[i]!, pruned: pruned[i]! })),
  }
}

/** Writes samples.json, whole or not at all. */
export async function writeSamples(directory: string, samples: Samples): Promise<void> {
  await writeFileAtomic(join(directory, 'samples.json'), `${JSON.stringify(samples, null, 2)}\n`)
}

function textBehind(tokenizer: Tokenizer, prompt: Int32Array, more: readonly number[]): string {
  const whole = tokenizer.decode([...prompt, ...more])
  const before = tokenizer.decode(prompt)
  return whole.startsWith(before) ? whole.slice(before.length) : tokenizer.decode(more)
}

/** Ids that end a text: those of generation_config.json, which transformers' `generate` goes by, else of config.json. */
async function endsOf({ assets, config }: Model): Promise<ReadonlySet<number>> {
  const generation = await readAsset(assets, 'generation_config.json')
  const ends = generation?.['eos_token_id'] ?? config['eos_token_id']
  return new Set([ends].flat().filter((id): id is number => typeof id === 'number'))
}
