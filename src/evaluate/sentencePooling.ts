import { CheckpointError, UnsupportedModelError } from '../errors.ts'
import type { Model } from '../model/model.ts'

/** How one vector is made of the hidden states of a sentence. */
export type PoolingMode = 'cls' | 'max' | 'mean' | 'meanSqrtLen' | 'weightedMean' | 'lastToken'

/** What a model of sentence-transformers declares behind its encoder. */
export interface SentencePooling {
  /** One vector each, one behind the other. */
  readonly modes: readonly PoolingMode[]
  /** Brought to length 1. */
  readonly normalize: boolean
}

/** Where nothing is declared. */
export const meanPooling: SentencePooling = { modes: ['mean'], normalize: true }

type Json = Readonly<Record<string, unknown>>

/** sentence-transformers' two spellings of a mode, in the order in which it joins their vectors. */
const spellings: readonly (readonly [key: string, name: string, PoolingMode])[] = [
  ['pooling_mode_cls_token', 'cls', 'cls'],
  ['pooling_mode_max_tokens', 'max', 'max'],
  ['pooling_mode_mean_tokens', 'mean', 'mean'],
  ['pooling_mode_mean_sqrt_len_tokens', 'mean_sqrt_len_tokens', 'meanSqrtLen'],
  ['pooling_mode_weightedmean_tokens', 'weightedmean', 'weightedMean'],
  ['pooling_mode_lasttoken', 'lasttoken', 'lastToken'],
]

/**
 * The pooling that `modules.json` and the configs of its modules declare; the normalised mean where there is none. Throws
 * `UnsupportedModelError` for a module or a mode that is not computed here, by its name, and `CheckpointError` for a module without config.
 *
 * Source: UKPLab/sentence-transformers, models/Pooling.py, and its modules.json.
 */
export async function sentencePoolingOf({ id, assets }: Pick<Model, 'id' | 'assets'>): Promise<SentencePooling> {
  const modules = await jsonAsset(assets, 'modules.json')
  if (modules === undefined) return meanPooling
  if (!Array.isArray(modules)) throw new CheckpointError(`${id}: modules.json is no list, expected one of modules`)
  let pooling: SentencePooling | undefined
  for (const { type, path } of modules as Json[]) {
    const name = String(type).split('.').at(-1)!
    if (name === 'Transformer') continue
    if (name === 'Pooling' && pooling === undefined) {
      pooling = { modes: await modesOf(id, assets, String(path)), normalize: false }
    } else if (name === 'Normalize' && pooling !== undefined) pooling = { ...pooling, normalize: true }
    else {
      throw new UnsupportedModelError(
        `${id}: modules.json: has a module "${name}" (${String(type)}), expected Transformer, Pooling and Normalize in that order; its sentence embeddings cannot be measured, take --task maskedToken where the model has that head`,
      )
    }
  }
  if (pooling !== undefined) return pooling
  throw new CheckpointError(`${id}: modules.json has no module "Pooling", expected one; is the download complete?`)
}

async function modesOf(id: string, assets: Model['assets'], folder: string): Promise<PoolingMode[]> {
  const file = `${folder}/config.json`
  const config = (await jsonAsset(assets, file)) as Json | undefined
  if (config === undefined) {
    throw new CheckpointError(`${id}: has no ${file}, which modules.json names; is the download complete?`)
  }
  const named = config['pooling_mode']
  const asked = new Set<unknown>(named === undefined ? [] : [named].flat())
  for (const [key, value] of Object.entries(config)) {
    if (key.startsWith('pooling_mode_') && value === true) asked.add(key)
  }
  // sentence-transformers' own default
  if (asked.size === 0) return ['mean']
  const unknown = [...asked].find((one) => !spellings.some(([key, name]) => one === key || one === name))
  if (unknown !== undefined) {
    throw new UnsupportedModelError(
      `${id}: ${file}: pools by "${String(unknown)}", expected ${spellings.map(([, name]) => name).join(', ')}; its sentence embeddings cannot be measured`,
    )
  }
  return spellings.filter(([key, name]) => asked.has(key) || asked.has(name)).map(([, , mode]) => mode)
}

async function jsonAsset(assets: Model['assets'], name: string): Promise<unknown> {
  const bytes = await assets.get(name)?.()
  if (bytes === undefined) return undefined
  try {
    return JSON.parse(new TextDecoder().decode(bytes))
  } catch (cause) {
    throw new CheckpointError(`${name}: is not JSON (${(cause as Error).message}); is the download complete?`, {
      cause,
    })
  }
}

/** A sentence's vector of its hidden states (T,D), of which the first `length` are tokens and the others padding, in float64. */
export function poolStates(
  states: Float32Array,
  length: number,
  width: number,
  { modes, normalize }: SentencePooling,
): Float64Array {
  const vector = new Float64Array(modes.length * width)
  for (const [place, mode] of modes.entries()) {
    vector.set(
      Float64Array.from({ length: width }, (_, d) => pools[mode]((t) => states[t * width + d]!, length)),
      place * width,
    )
  }
  const norm = Math.hypot(...vector)
  return normalize && norm > 0 ? vector.map((value) => value / norm) : vector
}

type Pool = (at: (t: number) => number, length: number) => number

const sum: Pool = (at, length) => {
  let total = 0
  for (let t = 0; t < length; t++) total += at(t)
  return total
}

/** One dimension of the states of a sentence → its entry in the vector. */
const pools: Readonly<Record<PoolingMode, Pool>> = {
  cls: (at) => at(0),
  max: (at, length) => {
    let most = Number.NEGATIVE_INFINITY
    for (let t = 0; t < length; t++) most = Math.max(most, at(t))
    return most
  },
  mean: (at, length) => sum(at, length) / length,
  meanSqrtLen: (at, length) => sum(at, length) / Math.sqrt(length),
  // Σ (t + 1) x_t / Σ (t + 1)
  weightedMean: (at, length) => sum((t) => (t + 1) * at(t), length) / ((length * (length + 1)) / 2),
  lastToken: (at, length) => at(length - 1),
}
