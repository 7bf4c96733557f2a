import { openForward } from '../engine/forward.ts'
import { ToolkitError } from '../errors.ts'
import { openModel } from '../model/load.ts'
import { emptyPlan } from '../model/plan.ts'
import type { Consumer } from './consumer.ts'
import { predict } from './predictions.ts'

/** This package: opens the export as a model of its own and runs it whole. */
export const ownReader: Consumer = {
  name: 'blockpruner',
  formats: ['huggingface', 'gguf'],
  async score({ path, rows }) {
    let model: Awaited<ReturnType<typeof openModel>>
    try {
      model = await openModel(path, path)
    } catch (error) {
      if (!(error instanceof ToolkitError)) throw error
      const isOther = error.code === 'UNSUPPORTED_MODEL'
      return isOther ? { skipped: 'this form is written for others, not opened here' } : { failed: error.message }
    }
    const engine = openForward(model)
    try {
      return { logits: await predict(model, engine, rows, emptyPlan), version: 'this version' }
    } finally {
      await engine.close()
      await model.weights.close()
    }
  },
}
