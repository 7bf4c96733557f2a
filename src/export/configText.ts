import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Model } from '../model/model.ts'
import type { ModelConfig } from '../types.ts'

/**
 * The text of an export's config.json. transformers 5 tells `30.0` from `30` and refuses the one where it wants the other,
 * a difference that parsed JSON does not have: numbers that are still those of the model's own config.json are written
 * as they were there, and where there is none (GGUF) the keys below as decimals.
 */
export async function configText(model: Model, config: ModelConfig): Promise<string> {
  const original = await originalText(model)
  const spelled =
    original === undefined
      ? withDecimals(config)
      : withSpelling(config, JSON.parse(original.replace(stringOrNumber, markDecimal)))
  return `${JSON.stringify(spelled, undefined, 2).replace(marked, '$1')}\n`
}

/** Keys that configs of GGUF models get, and that transformers wants as decimals. */
const decimalKeys = new Set([
  'rope_theta',
  'rope_local_base_freq',
  'factor',
  'low_freq_factor',
  'high_freq_factor',
  'rms_norm_eps',
  'layer_norm_eps',
  'layer_norm_epsilon',
  'attn_logit_softcapping',
  'final_logit_softcapping',
])

async function originalText({ path }: Model): Promise<string | undefined> {
  try {
    return await readFile(join(path, 'config.json'), 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw error
  }
}

/** Strings are matched so that digits inside them are passed over. */
const stringOrNumber = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g

const mark = '\u0001decimal '
const marked = /"\\u0001decimal ([^"]*)"/g

/** `30.0` → `"\u0001decimal 30.0"`; other tokens stay. */
function markDecimal(token: string): string {
  return token.startsWith('"') || !/[.eE]/.test(token) ? token : JSON.stringify(mark + token)
}

/** `value` with every number that `original` has in the same place replaced by its marked spelling. */
function withSpelling(value: unknown, original: unknown): unknown {
  if (typeof value === 'number') {
    const spelling = typeof original === 'string' && original.startsWith(mark) ? original.slice(mark.length) : undefined
    return spelling !== undefined && Number(spelling) === value ? original : value
  }
  if (typeof value !== 'object' || value === null || typeof original !== 'object' || original === null) return value
  if (Array.isArray(value))
    return value.map((item, i) => withSpelling(item, Array.isArray(original) ? original[i] : undefined))
  const originals = original as Readonly<Record<string, unknown>>
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withSpelling(item, originals[key])]))
}

function withDecimals(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      key,
      decimalKeys.has(key) && Number.isInteger(item) ? `${mark}${item}.0` : withDecimals(item),
    ]),
  )
}
