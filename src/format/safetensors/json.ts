import { z } from 'zod'
import { CheckpointError } from '../../errors.ts'

/** The reference implementation's own limit on a header. */
export const maxJsonBytes = 100_000_000

/**
 * A tensor needs some 8 values and the largest published checkpoints have 10⁵ tensors; 100 MB of `[],[],…` would hold
 * 3·10⁷ values and exhaust the memory of the process before a schema could refuse it.
 */
const maxValues = 4_000_000

/** Header and index are maps of maps of lists. */
const maxDepth = 4

/** Strings by name; one bad value gives one issue, where `z.record` would collect millions from a hostile file. */
export const stringsByName = z.custom<Readonly<Record<string, string>>>(
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((item) => typeof item === 'string'),
  'expected an object of strings',
)

/**
 * Parses the UTF-8 JSON object of an untrusted file, its keys in a map so that none of them is special. Throws
 * `CheckpointError` when it is no object, repeats one of its keys, or would need unreasonable memory.
 */
export function parseUntrustedObject(bytes: Uint8Array, subject: string): ReadonlyMap<string, unknown> {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw new CheckpointError(`${subject} is not UTF-8 text; the file is damaged, download it again`, { cause })
  }
  if (!text.startsWith('{')) {
    throw new CheckpointError(
      `${subject} starts with ${quoted(text.slice(0, 8))}, expected "{"; is this a safetensors checkpoint?`,
    )
  }
  const keys = scan(text, subject)
  let parsed: object
  try {
    parsed = JSON.parse(text) as object
  } catch (cause) {
    throw new CheckpointError(`${subject} is not JSON; the file is damaged, download it again`, { cause })
  }
  const entries = new Map<string, unknown>(Object.entries(parsed))
  if (keys.length !== entries.size) {
    const seen = new Set<unknown>()
    const twice = keys
      .map((key) => JSON.parse(key) as unknown)
      .find((key) => {
        if (seen.has(key)) return true
        seen.add(key)
        return false
      })
    throw new CheckpointError(
      `${subject} has ${quoted(String(twice))} twice, expected each name once; write the file again`,
    )
  }
  return entries
}

/** A text from an untrusted file as it may stand in a one-line message. */
export function quoted(text: string): string {
  const short = text.length > 120 ? `${text.slice(0, 120)}…` : text
  return JSON.stringify(short).replace(/[\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, '\ufffd')
}

/** First issue of a failed schema: `data_offsets.1: expected int, received string`. */
export function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0]
  if (issue === undefined) return 'unexpected value'
  const message = issue.message.replace(/^Invalid input: /, '')
  return issue.path.length === 0 ? message : `${issue.path.join('.')}: ${message}`
}

/** Bounds depth and number of values before anything is built, and lists the raw keys of the outermost object. */
function scan(text: string, subject: string): string[] {
  const keys: string[] = []
  let depth = 0
  let values = 0
  let isKey = false
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x22: {
        const start = i
        for (i++; i < text.length && text.charCodeAt(i) !== 0x22; i++) if (text.charCodeAt(i) === 0x5c) i++
        if (isKey && depth === 1) keys.push(text.slice(start, i + 1))
        isKey = false
        break
      }
      case 0x7b: // {
      case 0x5b: // [
        depth++
        values++
        isKey = true
        break
      case 0x7d: // }
      case 0x5d: // ]
        depth--
        break
      case 0x2c: // ,
        values++
        isKey = true
        break
    }
    if (depth > maxDepth) {
      throw new CheckpointError(
        `${subject} nests deeper than ${maxDepth} levels at character ${i}; the file is damaged, download it again`,
      )
    }
    if (values > maxValues) {
      throw new CheckpointError(
        `${subject} has more than ${maxValues} values, the limit against files made to exhaust memory; split the checkpoint into shards`,
      )
    }
  }
  return keys
}
