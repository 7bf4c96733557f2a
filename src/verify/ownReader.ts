import { openLocalEngine } from '../engine/localEngine.ts'
import { ToolkitError } from '../errors.ts'
import { applyPlan } from '../model/applyPlan.ts'
import { openModel } from '../model/load.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan } from '../model/plan.ts'
import type { PruningPlan, TokenRows } from '../types.ts'
import type { Consumer } from './consumer.ts'
import { predict } from './predictions.ts'

/** This package: opens the export as a model of its own and runs it whole. */
export const ownReader: Consumer = {
  name: 'blockpruner',
  formats: ['huggingface', 'gguf'],
  async score({ path, rows }) {
    try {
      const model = await openModel(path, path)
      return { logits: await predictAndClose(model, rows), version: 'this version' }
    } catch (error) {
      if (!(error instanceof ToolkitError)) throw error
      return { failed: error.message }
    }
  },
}

/**
 * What `model` without `plan` predicts on `rows` with the weights as the export at `path` stores them: the dense model's own
 * description of itself, so that nothing the export says but its weights enters. `names`: where its tensors are in the export.
 */
export async function predictStored(
  path: string,
  model: Model,
  plan: PruningPlan,
  names: ReadonlyMap<string, string>,
  rows: TokenRows,
): Promise<Float32Array> {
  const { weights } = await openModel(path, path)
  const stored = (name: string): string => names.get(name) ?? name
  const tensors = new Map([...names].map(([name, other]) => [name, { ...weights.tensors.get(other)!, name }] as const))
  const read = (name: string) => weights.read(stored(name))
  const readBytes = (name: string) => weights.readBytes(stored(name))
  return predictAndClose({ ...applyPlan(model, plan), weights: { ...weights, tensors, read, readBytes } }, rows)
}

async function predictAndClose(model: Model, rows: TokenRows): Promise<Float32Array> {
  const engine = openLocalEngine(model)
  try {
    return await predict(model, engine, rows, emptyPlan)
  } finally {
    await engine.close()
    await model.weights.close()
  }
}
