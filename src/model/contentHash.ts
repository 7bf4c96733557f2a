import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { CheckpointError } from '../errors.ts'
import type { Model } from './model.ts'

/** Hashes of models that were asked for before: their files do not change while they are open. */
const known = new WeakMap<Model, Promise<string>>()

/** The sha256 of config.json's values and of every weight file's bytes: the same model, whatever folder it lies in. */
export function contentHash(model: Model): Promise<string> {
  const hash = known.get(model) ?? hashOf(model)
  known.set(model, hash)
  return hash
}

async function hashOf({ config, weights }: Model): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(config))
  for (const file of weights.files) {
    try {
      for await (const chunk of createReadStream(file, { highWaterMark: 2 ** 20 })) hash.update(chunk as Buffer)
    } catch (cause) {
      throw new CheckpointError(`${file}: cannot be read (${(cause as Error).message})`, { cause })
    }
  }
  return hash.digest('hex')
}
