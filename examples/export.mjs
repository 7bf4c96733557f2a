// A plan by hand: measured, applied, exported. Whole layers give a stock checkpoint that loads everywhere.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { applyPlan, exportHuggingFace, loadModel, measurePerplexity, openEngine, readRows } from 'blockpruner'

const model = await loadModel('embedded')
const plan = { blocks: ['decoder.1.attention', 'decoder.1.mlp'], units: {} }
console.log(`${model.parameters} parameters, ${applyPlan(model, plan).parameters} without layer 1`)

const engine = openEngine(model)
const rows = await readRows(model, { dataset: 'embedded:test', nsamples: 4, seqlen: 128, seed: 42 })
const { tokenPooled, standardError } = await measurePerplexity(engine, rows, plan)
console.log(`held-out perplexity ${tokenPooled.toFixed(2)}, standard error ${standardError.toFixed(3)} nats per token`)

const folder = join(await mkdtemp(join(tmpdir(), 'blockpruner-')), 'model')
const { form } = await exportHuggingFace(model, plan, folder)
console.log(`exported in ${form} form`)

await engine.close()
await model.weights.close()
await rm(folder, { recursive: true })
