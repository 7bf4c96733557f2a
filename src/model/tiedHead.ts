import { createHash } from 'node:crypto'
import { CheckpointError } from '../errors.ts'
import { storedNames } from './describe.ts'
import type { Model } from './model.ts'

/**
 * Throws `CheckpointError` where config.json ties the head to the embeddings, but the checkpoint has a head with other numbers beside
 * them: transformers 5 takes those, so scores by the embeddings would be those of another model. Reads the two only where both are
 * stored.
 */
export async function checkTiedHead({ path, architecture, config, outer, weights }: Model): Promise<void> {
  const stored = storedNames(architecture, weights)
  const untied = architecture.outer({ ...config, tie_word_embeddings: false }, (name) => stored(name) !== undefined)
  const [head] = untied['lmHead'] ?? []
  const [table] = outer['embedTokens'] ?? []
  const found = head && stored(head)
  if ('lmHead' in outer || found === undefined || table === undefined || found === table) return
  const digestOf = async (name: string) =>
    createHash('sha256')
      .update(await weights.read(name))
      .digest('hex')
  if ((await digestOf(found)) === (await digestOf(table))) return
  throw new CheckpointError(
    `${path}: config.json ties the head to the embeddings, but tensor "${found}" holds other numbers than "${table}"; set "tie_word_embeddings" to false in config.json if the head is one of its own`,
  )
}
