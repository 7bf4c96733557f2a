// The search as a loop: every step is yours to look at, stop or keep.
import { blockPruner, loadModel, openEngine, perplexityObjective, readRows } from 'blockpruner'

const model = await loadModel('embedded')
const engine = openEngine(model)
const rows = await readRows(model, { dataset: 'embedded', nsamples: 4, seqlen: 128, seed: 42 })

for await (const step of blockPruner(model, perplexityObjective(engine, rows))) {
  const next = step.runnerUp ? `, next best ${step.runnerUp.block}` : ''
  console.log(`${step.removed[0]}: perplexity ${Math.exp(step.loss).toFixed(2)}${next}`)
  if (step.plan.blocks.length === 3) break
}

await engine.close()
await model.weights.close()
