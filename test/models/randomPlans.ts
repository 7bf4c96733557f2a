import type { Model } from '../../src/model/model.ts'
import { encodeBias } from '../../src/model/outputBias.ts'
import type { Random } from '../../src/tensor/random.ts'
import type { Block, BlockId, PruningPlan } from '../../src/types.ts'

/** A plan of a shape drawn at random, which leaves the decoder at least one block: without any it cannot count tokens. */
export function randomPlan(model: Model, random: Random): { readonly name: string; readonly plan: PruningPlan } {
  const names = Object.keys(shapes)
  const name = names[random.below(names.length)]!
  const plan = shapes[name]!(model, random)
  const gone = new Set(plan.blocks)
  const isLeft = ({ stack, id, units }: Block) =>
    stack === 'decoder' && !gone.has(id) && plan.units[id]?.length !== units
  const counts = model.architecture.family === 'encoder' || model.blocks.some(isLeft)
  return counts ? { name, plan } : randomPlan(model, random)
}

type Shape = (model: Model, random: Random) => PruningPlan

const shapes: Readonly<Record<string, Shape>> = {
  blocks: ({ blocks }, random) =>
    without(
      blocks.filter(() => random.below(3) === 0),
      random,
    ),
  units: ({ blocks }, random) => ({ blocks: [], units: unitsOf(blocks, random) }),
  'blocks and units': (model, random) => {
    const plan = shapes['blocks']!(model, random)
    return { ...plan, units: unitsOf(left(model, plan), random) }
  },
  'units with biases': (model, random) => {
    const plan = shapes['blocks and units']!(model, random)
    const bias = () => encodeBias(Float32Array.from({ length: model.sizes['D']! }, () => random.uniform() - 0.5))
    return { ...plan, outputBiases: Object.fromEntries(Object.keys(plan.units).map((id) => [id, bias()])) }
  },
  // one smaller width for all, which a stock config may say
  'the same units everywhere': ({ blocks }, random) => {
    const first = (block: Block) => blocks.find(({ stack, kind }) => stack === block.stack && kind === block.kind)!
    const cut = unitsOf([...new Set(blocks.map(first))], random)
    return { blocks: [], units: Object.fromEntries(blocks.map((block) => [block.id, cut[first(block).id] ?? []])) }
  },
  // the mlp of one layer and the attention of the next, so that the rest packs into stock layers
  neighbours: ({ blocks }, random) => {
    const pairs = blocks.filter(({ kind }) => kind === 'mlp' && random.below(2) === 0)
    const behind = ({ stack, layer }: Block) => `${stack}.${layer + 1}.attention`
    const gone = pairs.flatMap((mlp) => [mlp, ...blocks.filter(({ id }) => id === behind(mlp))])
    return without(gone, random)
  },
  layers: ({ blocks }, random) => {
    const layers = new Set(blocks.map(layerOf).filter(() => random.below(2) === 0))
    return without(
      blocks.filter((block) => layers.has(layerOf(block))),
      random,
    )
  },
  'a kind in a stack': ({ blocks }, random) => {
    const { kind, stack } = blocks[random.below(blocks.length)]!
    return without(
      blocks.filter((block) => block.kind === kind && block.stack === stack),
      random,
    )
  },
  'all units of blocks': ({ blocks }, random) => ({
    blocks: [],
    units: Object.fromEntries(blocks.filter(() => random.below(3) === 0).map(({ id, units }) => [id, range(units)])),
  }),
}

/** Without these blocks, and of the norms behind them with or without. */
const without = (blocks: readonly Block[], random: Random): PruningPlan => ({
  blocks: blocks.map(({ id }) => id),
  units: {},
  outputNorms: random.below(2) === 0 ? 'keep' : 'drop',
})

const left = ({ blocks }: Model, plan: PruningPlan) => blocks.filter(({ id }) => !plan.blocks.includes(id))

const layerOf = ({ stack, layer }: Block) => `${stack}.${layer}`

/** Fewest channels that an mlp keeps: a norm behind a single one magnifies what rounding did to a gate that is nearly shut. */
const fewestChannels = 3

/** Of most blocks that have several units one is left, a few, or all but one. */
function unitsOf(blocks: readonly Block[], random: Random): Record<BlockId, readonly number[]> {
  const several = blocks.filter(({ units }) => units > 1 && random.below(3) > 0)
  return Object.fromEntries(
    several.map(({ id, kind, units }) => {
      const all = range(units)
      const fewest = kind === 'mlp' ? Math.min(fewestChannels, units - 1) : 1
      const kept = Math.max(fewest, [1, units - 1, 1 + random.below(units - 1)][random.below(3)]!)
      while (all.length > units - kept) all.splice(random.below(all.length), 1)
      return [id, all]
    }),
  )
}

const range = (length: number): number[] => Array.from({ length }, (_, i) => i)
