import { CheckpointError } from '../errors.ts'

type Json = Readonly<Record<string, unknown>>
type Assets = ReadonlyMap<string, () => Promise<Uint8Array>>

/**
 * The chat template among a model's files, as text: `chat_template.jinja`, or the one of `tokenizer_config.json` or
 * `chat_template.json`, the default of several. Undefined where there is none. Throws `CheckpointError` for a file that is not JSON.
 */
export async function chatTemplateOf(assets: Assets): Promise<string | undefined> {
  const file = await assets.get('chat_template.jinja')?.()
  if (file !== undefined) return new TextDecoder().decode(file)
  for (const name of ['tokenizer_config.json', 'chat_template.json']) {
    const template = oneOf((await readAsset(assets, name))?.['chat_template'])
    if (template !== undefined) return template
  }
  return undefined
}

function oneOf(template: unknown): string | undefined {
  if (typeof template === 'string') return template
  if (!Array.isArray(template)) return undefined
  const several = template as Json[]
  const chosen = several.find(({ name }) => name === 'default') ?? several[0]
  return typeof chosen?.['template'] === 'string' ? chosen['template'] : undefined
}

/** A JSON file among a model's files; undefined where there is none. Throws `CheckpointError` for one that is not JSON. */
export async function readAsset(assets: Assets, name: string): Promise<Json | undefined> {
  const bytes = await assets.get(name)?.()
  if (bytes === undefined) return undefined
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) as Json
  } catch (cause) {
    throw new CheckpointError(`${name}: is not JSON (${(cause as Error).message}); is the download complete?`, {
      cause,
    })
  }
}
