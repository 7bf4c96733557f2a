import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { attentionGraph } from '../../src/graph/attention.ts'
import { embeddingGraph } from '../../src/graph/embedding.ts'
import { gradient } from '../../src/graph/gradient.ts'
import {
  type Differentiable,
  type GradientRule,
  type GradientRules,
  gradientRules,
} from '../../src/graph/gradientRules.ts'
import { buildGraph, type Graph } from '../../src/graph/graph.ts'
import { mlpGraph } from '../../src/graph/mlp.ts'
import type { OperationAttributes } from '../../src/graph/operations.ts'
import { graphToOnnx } from '../../src/graph/toOnnx.ts'
import type { AttentionForm, MlpForm } from '../../src/model/mathematics.ts'
import { Random } from '../../src/tensor/random.ts'
import { interpret, type Tensor, tensor } from './interpret.ts'

interface Case<Op extends Differentiable> {
  readonly with?: OperationAttributes[Op]
  /** Dimensions of each input of floats, or the numbers of one of places and its dimensions. */
  readonly of: readonly (readonly number[] | { readonly places: readonly number[]; readonly dims: readonly number[] })[]
}

const unary = [{ of: [[3, 4]] }, { of: [[2, 1, 3]] }]
const elementwise = [
  {
    of: [
      [2, 3, 4],
      [2, 3, 4],
    ],
  },
  { of: [[2, 3, 4], [4]] },
  {
    of: [
      [3, 1],
      [2, 1, 4],
    ],
  },
  {
    of: [
      [2, 1, 1, 3],
      [2, 2, 2, 3],
    ],
  },
  { of: [[], [2, 2]] },
]
const places = { places: [2, 0, 2], dims: [3] }

const cases: { readonly [Op in Differentiable]: readonly Case<Op>[] } = {
  linear: [
    {
      of: [
        [2, 3, 4],
        [5, 4],
      ],
    },
    { of: [[2, 3, 4], [4, 5], [5]], with: { inputFirst: true } },
    {
      of: [
        [3, 4],
        [5, 4],
        [1, 5],
      ],
    },
    { of: [[4], [5, 4], [5]] },
  ],
  matmul: [
    {
      of: [
        [2, 3, 4],
        [2, 4, 5],
      ],
    },
    {
      of: [
        [2, 2, 3, 3, 4],
        [2, 2, 1, 4, 5],
      ],
    },
    {
      of: [
        [3, 4],
        [2, 4, 5],
      ],
    },
  ],
  add: elementwise,
  mul: elementwise,
  div: elementwise,
  rmsNorm: [
    { of: [[2, 3, 4], [4]], with: { epsilon: 0.1 } },
    { of: [[4], [4]], with: { epsilon: 1e-6 } },
  ],
  layerNorm: [
    { of: [[2, 3, 4], [4], [4]], with: { epsilon: 0.1 } },
    { of: [[2, 4], [4]], with: { epsilon: 0.1 } },
  ],
  rowLength: [{ of: [[3, 4]] }],
  silu: unary,
  gelu: [...unary, { of: [[40]] }],
  geluTanh: unary,
  quickGelu: unary,
  relu: unary,
  squaredRelu: unary,
  tanh: unary,
  embedding: [{ of: [[4, 3], { places: [1, 3, 1, 0, 1, 2], dims: [2, 3] }] }],
  reshape: [
    { of: [[2, 3, 4]], with: { shape: [0, 0, 2, 2] } },
    { of: [[2, 3, 4]], with: { shape: [-1] } },
  ],
  transpose: [{ of: [[2, 3, 4]], with: { order: [1, 2, 0] } }],
  slice: [
    { of: [[2, 6]], with: { axis: -1, start: 1, end: 4 } },
    { of: [[5, 2]], with: { axis: 0, start: 0, end: 1 } },
    { of: [[2, 6]], with: { axis: 1, start: 3, end: 6 } },
  ],
  concat: [
    {
      of: [
        [2, 3],
        [2, 1],
        [2, 2],
      ],
      with: { axis: -1 },
    },
    {
      of: [
        [2, 3],
        [1, 3],
      ],
      with: { axis: 0 },
    },
  ],
  gather: [{ of: [[1, 4, 3], { places: [3, 0], dims: [2] }], with: { axis: 1 } }],
  scale: [{ of: [[2, 3]], with: { by: -1.5 } }],
  shift: [{ of: [[2, 3]], with: { by: 1 } }],
  softmax: unary,
  logSumExp: unary,
  logProbability: [
    { of: [[3, 5], places], with: { vocabulary: 5 } },
    { of: [[2, 5], { places: [1, 3, 4, 0], dims: [2, 2] }], with: { vocabulary: 5 } },
    { of: [[1, 2500], { places: [2400], dims: [1] }], with: { vocabulary: 2500 } },
  ],
  pick: [{ of: [[3, 4], places] }],
}

describe.each(Object.entries(cases) as [Differentiable, readonly Case<Differentiable>[]][])('%s', (op, ofOperation) => {
  it.each(ofOperation)('has the gradient of central differences: $of', async (each) => {
    const toy = toyOf(op, each)
    for (const name of toy.floats) {
      const found = gradientOf(toy, name, gradientRules)
      // measured: at most 4e-9
      expect(farOff(found, centralDifference(toy, name)), name).toBeLessThan(1e-7)
      // of kernels in float32, the fused ones and those that every provider has
      for (const portable of [false, true]) {
        expect(farOff(await runGradient(toy, name, portable), found), name).toBeLessThan(1e-5)
      }
    }
  })

  it('is caught where its rule is wrong by a thousandth', () => {
    const wrong = { ...gradientRules, [op]: byAThousandth(gradientRules[op] as GradientRule<Differentiable>) }
    for (const each of ofOperation) {
      const toy = toyOf(op, each)
      for (const name of toy.floats) {
        expect(farOff(gradientOf(toy, name, wrong), centralDifference(toy, name))).toBeGreaterThan(1e-4)
      }
    }
  })
})

describe('the gradient of a graph', () => {
  const form: MlpForm = { norm: { type: 'rms', epsilon: 1e-6 }, gated: true, activation: 'silu', biases: false }
  const mlp = mlpGraph(form, 'whole', 'unit')
  const operations = (graph: Graph) => graph.nodes.map(({ op }) => op)
  const sources = (graph: Graph) => graph.inputs.map(({ value }) => value.name)
  const outputs = (graph: Graph) => graph.outputs.map(({ value }) => value)

  it('computes nothing that the inputs asked for do not need', () => {
    const ofGates = gradient(mlp, outputs(mlp), ['unitGate'])
    expect(operations(ofGates)).not.toContain('outerSum')
    expect(operations(ofGates)).not.toContain('reciprocalRoot')
    // the forward products into the channels, and the gradient's out of them
    expect(operations(ofGates).filter((op) => op === 'linear')).toHaveLength(3)
    expect(sources(gradient(mlp, outputs(mlp), ['downProj']))).not.toContain('downProj')
  })

  it('has the shape of each input, in the order asked for, and what else is asked for behind it', () => {
    const found = gradient(mlp, outputs(mlp), ['downProj', 'hidden', 'unitGate'], { alsoGive: outputs(mlp) })
    expect(outputs(found).map(({ dims }) => dims)).toEqual([
      ['D', 'F'],
      ['B', 'T', 'D'],
      ['B', 'F'],
      ['B', 'T', 'D'],
    ])
  })

  it('has, of a table, the gradients of the rows that were read and their numbers', () => {
    const table = embeddingGraph({ scale: 2, positions: { offset: 2, count: 10 } })
    const [ofWords, ofPositions] = gradient(table, outputs(table), ['embedTokens', 'embedPositions']).outputs
    expect(ofWords!.value.dims).toEqual(['B', 'T', 'D'])
    expect(ofWords!.rows!.name).toBe('ids')
    expect(ofPositions!.value.dims).toEqual(['T', 'D'])
    expect(ofPositions!.rows!.name).toBe('positionIndex')
  })

  it('does not exist through a fused kernel, which is said by name', () => {
    const attention: AttentionForm = {
      positions: { type: 'none' },
      headDim: 16,
      groupSize: 1,
      scale: 0.25,
      window: undefined,
      biases: { qkv: false, o: false },
    }
    const fused = attentionGraph(attention, 2, 'fused')
    expect(() => gradient(fused, outputs(fused), ['qProj'])).toThrow(
      'attention: groupQueryAttention has no gradient: the fused kernel is for the forward pass, take attention from primitives',
    )
    // what is behind the kernel has one
    expect(operations(gradient(fused, outputs(fused), ['oProj']))).toContain('outerSum')
  })

  it('does not exist for what the outputs do not depend on', () => {
    expect(() => gradient(mlp, outputs(mlp), ['qProj'])).toThrow("mlp: its outputs don't depend on qProj")
  })

  it('of a table that is read twice is refused', () => {
    const g = buildGraph('toy')
    const table = g.weight('embedTokens', ['V', 'D'])
    const x = g.apply('embedding', [table, g.data('ids', ['B', 'T'])], {})
    const graph = g.finish([g.apply('linear', [x, table], {})])
    expect(() => gradient(graph, outputs(graph), ['embedTokens'])).toThrow('toy: embedTokens is read twice')
  })
})

/** One operation on seeded inputs, and the weights of its results in the number that is differentiated. */
interface Toy {
  readonly graph: Graph
  readonly inputs: Readonly<Record<string, Tensor>>
  readonly floats: readonly string[]
  readonly seed: Tensor
}

function toyOf(op: Differentiable, { with: attributes = {}, of }: Case<Differentiable>): Toy {
  const g = buildGraph('toy')
  const random = new Random(3)
  const inputs: Record<string, Tensor> = {}
  const floats: string[] = []
  const operands = of.map((each, i) => {
    const name = `x${i}`
    if ('places' in each) {
      inputs[name] = tensor(each.dims, (place) => each.places[place]!)
      return g.constant(name, '', [], each.dims, 'int64')
    }
    floats.push(name)
    // away from 0, so that nothing is divided by it and no bend is crossed
    inputs[name] = tensor(each, () => (random.uniform() < 0.5 ? -1 : 1) * (0.2 + 1.5 * random.uniform()))
    return g.weight(name, each)
  })
  const graph = g.finish([g.apply(op, operands, attributes as OperationAttributes[Differentiable])])
  const y = interpret(graph, inputs)[graph.outputs[0]!.value.name]!
  return { graph, inputs, floats, seed: tensor(y.dims, () => random.normal()) }
}

function gradientGraph({ graph }: Toy, name: string, rules: GradientRules = gradientRules): Graph {
  return gradient(
    graph,
    graph.outputs.map(({ value }) => value),
    [name],
    { rules },
  )
}

/** By the rules, in float64; rows of a table are added up. */
function gradientOf(toy: Toy, name: string, rules: GradientRules): Tensor {
  const found = gradientGraph(toy, name, rules)
  const inputs = { ...toy.inputs, [`${toy.graph.outputs[0]!.value.name}Gradient`]: toy.seed }
  const values = interpret(found, inputs)
  const [{ value, rows }] = found.outputs as [Graph['outputs'][number]]
  return wholeTable(toy.inputs[name]!, values[value.name]!, rows && values[rows.name])
}

function wholeTable(table: Tensor, found: Tensor, rows: Tensor | undefined): Tensor {
  if (rows === undefined) return found
  const width = table.dims[1]!
  const whole = tensor(table.dims, () => 0)
  for (const [i, row] of rows.data.entries()) {
    for (let d = 0; d < width; d++) whole.data[row * width + d]! += found.data[i * width + d]!
  }
  return whole
}

function centralDifference({ graph, inputs, seed }: Toy, name: string): Tensor {
  const step = 1e-5
  const valueAt = (place: number, by: number) => {
    const moved = { ...inputs[name]!, data: inputs[name]!.data.slice() }
    moved.data[place]! += by
    const y = interpret(graph, { ...inputs, [name]: moved })[graph.outputs[0]!.value.name]!
    return y.data.reduce((total, value, i) => total + value * seed.data[i]!, 0)
  }
  return tensor(inputs[name]!.dims, (place) => (valueAt(place, step) - valueAt(place, -step)) / (2 * step))
}

async function runGradient(toy: Toy, name: string, portable: boolean): Promise<Tensor> {
  const graph = gradientGraph(toy, name)
  const given: Record<string, Tensor> = { ...toy.inputs, [`${toy.graph.outputs[0]!.value.name}Gradient`]: toy.seed }
  const feeds = Object.fromEntries(
    graph.inputs.map(({ value }) => {
      const { dims, data } = given[value.name]!
      const numbers = value.type === 'int64' ? BigInt64Array.from(data, BigInt) : Float32Array.from(data)
      return [value.name, new ort.Tensor(value.type as 'float32', numbers as Float32Array, dims)]
    }),
  )
  const session = await ort.InferenceSession.create(graphToOnnx(graph, { portable }), {
    intraOpNumThreads: 1,
    logSeverityLevel: 3,
  })
  const [{ value, rows }] = graph.outputs as [Graph['outputs'][number]]
  const results = await session.run(feeds, [value.name])
  await session.release()
  const { dims, data } = results[value.name]!
  const found = { dims, data: Float64Array.from(data as Float32Array) }
  return wholeTable(toy.inputs[name]!, found, rows && given[rows.name])
}

/** The largest difference, as a share of the largest value. */
function farOff(found: Tensor, expected: Tensor): number {
  expect(found.dims).toEqual(expected.dims)
  const largest = Math.max(...expected.data.map(Math.abs))
  return Math.max(...found.data.map((value, i) => Math.abs(value - expected.data[i]!))) / largest
}

const byAThousandth =
  (rule: GradientRule<Differentiable>): GradientRule<Differentiable> =>
  (step) =>
    rule(step).map((ofInput) => ofInput && (() => step.g.apply('scale', [ofInput()], { by: 1.001 })))
