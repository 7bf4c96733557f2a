import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { writeFileAtomic } from '../format/atomicFile.ts'
import type { Model } from '../model/model.ts'
import { withPublicNames } from './publicName.ts'

/** Settings are smaller; vocabularies, which are larger, name no place. */
const maxSettingsBytes = 1_000_000

/**
 * Writes the files that are carried along into `folder`: tokenizer, templates, licence, modules behind an encoder. No path of a person goes
 * with them, and not the card of the dense model, whose numbers are not the export's.
 */
export async function writeAssets(model: Model, folder: string): Promise<void> {
  for (const [name, read] of model.assets) {
    if (name === 'README.md') continue
    const bytes = await read()
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFileAtomic(
      join(folder, name),
      name.endsWith('.json') && bytes.length <= maxSettingsBytes ? published(bytes) : bytes,
    )
  }
}

/** A JSON file as it is, unless it names a path; what is no JSON is not ours to mend. */
function published(bytes: Uint8Array): Uint8Array | string {
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder().decode(bytes))
  } catch {
    return bytes
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return bytes
  const named = withPublicNames(json as Readonly<Record<string, unknown>>)
  return JSON.stringify(named) === JSON.stringify(json) ? bytes : `${JSON.stringify(named, undefined, 2)}\n`
}
