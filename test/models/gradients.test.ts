import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { cpuDevice } from '../../src/device/cpu.ts'
import type { Device, Handle } from '../../src/device/device.ts'
import { untouched } from '../../src/engine/edit.ts'
import { environmentCache } from '../../src/engine/environment.ts'
import { type Weights, weightsOf } from '../../src/engine/weights.ts'
import { gradient } from '../../src/graph/gradient.ts'
import type { Graph, GraphInput } from '../../src/graph/graph.ts'
import { programOf, type Stage } from '../../src/graph/program.ts'
import { openModel } from '../../src/model/load.ts'
import type { Model } from '../../src/model/model.ts'
import { blockSizes } from '../../src/model/plan.ts'
import { Random } from '../../src/tensor/random.ts'

/**
 * The gradients of every stage and head of every family, with respect to states, weights and gates, against PyTorch's autograd.
 * BLOCKPRUNER_PYTHON names a python with torch.
 */
const python = process.env['BLOCKPRUNER_PYTHON']
const fixtures = join(import.meta.dirname, '../fixtures')
const sizes = { B: 2, T: 7, S: 5, N: 6, W: 2 }

test.skipIf(python === undefined).for(['tiny-random', 'tiny-variants', 'tiny-encoders'])(
  'gradients of each model in %s are those of PyTorch to 1e-5 (needs BLOCKPRUNER_PYTHON)',
  async (folder) => {
    const target = await mkdtemp(join(tmpdir(), 'gradients-'))
    try {
      const cases: object[] = []
      const entries = await readdir(join(fixtures, folder), { withFileTypes: true })
      for (const { name } of entries.filter((entry) => entry.isDirectory())) {
        const model = await openModel(name, join(fixtures, folder, name))
        cases.push(...(await casesOf(`${folder}/${name}`, model)))
        await model.weights.close()
      }
      const file = join(target, 'cases.json')
      await writeFile(file, JSON.stringify(cases))
      const script = join(import.meta.dirname, 'graph_gradients.py')
      const { stdout } = await promisify(execFile)(python!, [script, file], { maxBuffer: 2 ** 26 })
      console.log(folder, cases.length, 'graphs', stdout.slice(-60))
      expect(stdout.match(/^FAIL .*/gm) ?? []).toEqual([])
      expect(stdout).toMatch(/^(\d+) of \1 gradients passed$/m)
      expect(cases.length).toBeGreaterThan(entries.length)
    } finally {
      await rm(target, { recursive: true })
    }
  },
)

/** Each graph of the model once: its stages as they are, their blocks with both kinds of gates, and its losses. */
async function casesOf(name: string, model: Model): Promise<object[]> {
  const device = cpuDevice({ threads: 1 })
  const { stages, heads } = programOf(model, 'primitives')
  const sources: Sources = { model, device, weights: weightsOf(model, device), environment: environmentCache(device) }
  const graphs = new Map<Graph, Stage>()
  for (const stage of stages) {
    const units = stage.block?.units ?? 0
    const own: (Graph | 'copy')[] = [stage.graph(units), stage.bareNorm ?? 'copy']
    if (stage.gated && units > 0) own.push(stage.gated('block', units), stage.gated('unit', units))
    for (const graph of own) if (graph !== 'copy' && !graphs.has(graph)) graphs.set(graph, stage)
  }
  for (const head of heads ? [heads.tokenLoss, heads.releasedTokenLoss, heads.wordLogProbabilities] : []) {
    graphs.set(head.graph, { ...stages[0]!, ...head, name: 'head', graph: () => head.graph })
  }
  const cases: object[] = []
  for (const [graph, stage] of graphs) cases.push(await caseOf(`${name} ${stage.name}`, sources, graph, stage))
  await device.close()
  return cases
}

interface Sources {
  readonly model: Model
  readonly device: Device
  readonly weights: Weights
  readonly environment: ReturnType<typeof environmentCache>
}

async function caseOf(name: string, sources: Sources, graph: Graph, stage: Stage): Promise<object> {
  const { device } = sources
  const random = new Random(11)
  const floats = (dims: readonly number[]) =>
    device.upload(
      'float32',
      Float32Array.from({ length: dims.reduce((product, size) => product * size, 1) }, () => random.normal()),
      dims,
    )
  const feeds: Record<string, Handle> = {}
  for (const input of graph.inputs) feeds[input.value.name] = await feedOf(sources, stage, input, floats)
  const y = graph.outputs[0]!.value
  const [output] = await device.run(graph, [sizes.B, sizes.T], feeds)
  const seed = floats(output!.dims)
  const asked = graph.inputs.flatMap(({ value, source: { from } }) =>
    from === 'weight' || from === 'state' || from === 'gate' ? [value.name] : [],
  )
  const found = gradient(graph, [y], asked)
  const given = { ...feeds, [`${y.name}Gradient`]: seed }
  const needed = Object.fromEntries(found.inputs.map(({ value }) => [value.name, given[value.name]!]))
  const results = await device.run(found, [sizes.B, sizes.T], needed)
  const gradients: Record<string, object> = {}
  for (const [i, of] of asked.entries()) {
    const { rows } = found.outputs[i]!
    const places =
      rows && (feeds[rows.name] ?? (await device.run({ ...graph, outputs: [{ value: rows }] }, [2, 7], feeds))[0])
    gradients[of] = { value: await stored(device, results[i]!), ...(places && { rows: await stored(device, places) }) }
  }
  const nodes = graph.nodes.map(({ op, inputs, output: { name: made }, attributes }) => ({
    op,
    inputs: inputs.map((value) => value.name),
    output: made,
    attributes,
  }))
  const all = Object.entries(feeds).map(async ([key, handle]) => [key, await stored(device, handle)] as const)
  const fed = Object.fromEntries(await Promise.all(all))
  return { name, nodes, feeds: fed, output: y.name, seed: await stored(device, seed), gradients }
}

async function feedOf(
  { model, device, weights, environment }: Sources,
  stage: Stage,
  { value, source }: GraphInput,
  floats: (dims: readonly number[]) => Handle,
): Promise<Handle> {
  const of = stage.block && { block: stage.block, edit: untouched }
  const own = { ...(stage.block ? blockSizes(model, stage.block) : model.sizes), ...sizes } as Record<string, number>
  const dims = value.dims.map((dim) => (typeof dim === 'number' ? dim : own[dim]!))
  const whole = (below: number) => {
    const random = new Random(dims.length + below)
    const length = dims.reduce((product, size) => product * size, 1)
    return device.upload(
      'int64',
      BigInt64Array.from({ length }, () => BigInt(random.below(below))),
      dims,
    )
  }
  switch (source.from) {
    case 'weight':
      return weights.get(stage.weights, source.role, of)
    case 'constant':
      return weights.constant(source.axes, source.values, value.type, of)
    case 'environment':
      return environment(source.of, sizes.B, sizes.T)
    case 'data':
      if (source.name === 'paddingBias') {
        const padded = Float32Array.from({ length: sizes.B * dims[3]! }, (_, i) => (i === 1 ? -1e30 : 0))
        return device.upload('float32', padded, dims)
      }
      return whole(source.name === 'tokenTypeIds' ? own['A']! : model.sizes['classifier' in model.outer ? 'C' : 'V']!)
    default:
      return floats(dims)
  }
}

/** The tensor as graph_gradients.py reads it. */
async function stored(device: Device, handle: Handle) {
  const { buffer, byteOffset, byteLength } = await device.read(handle)
  return { type: handle.type, dims: handle.dims, data: Buffer.from(buffer, byteOffset, byteLength).toString('base64') }
}
