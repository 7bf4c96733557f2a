import { parse } from 'yaml'
import type { Model } from '../model/model.ts'

/** What the card of the dense model says that holds for a pruned one as well: its front matter's entries, as they are. */
export type DenseCard = Readonly<Record<string, unknown>>

const kept = ['license', 'license_name', 'license_link', 'language', 'pipeline_tag']

/** Larger front matter is a list of results. */
const maxCharacters = 1_000_000

/** The licence and language of the dense model's README.md; empty where it says none, or nothing that is YAML. */
export async function denseCardOf({ assets }: Pick<Model, 'assets'>): Promise<DenseCard> {
  const bytes = await assets.get('README.md')?.()
  if (bytes === undefined || bytes.length > maxCharacters) return {}
  const [, front] = /^\uFEFF?---\r?\n([\s\S]*?)\r?\n---\s*(?:\r?\n|$)/.exec(new TextDecoder().decode(bytes)) ?? []
  if (front === undefined) return {}
  let said: unknown
  try {
    said = parse(front, { maxAliasCount: 10 })
  } catch {
    return {}
  }
  if (typeof said !== 'object' || said === null) return {}
  const entries = said as DenseCard
  return Object.fromEntries(kept.flatMap((key) => (entries[key] == null ? [] : [[key, entries[key]]])))
}
