import type { Model } from '../../src/model/model.ts'
import type { Block, BlockId, PruningPlan } from '../../src/types.ts'

/** Plans of every shape for a model of any family with three layers a stack or more, by name. */
export function familyPlans(model: Model): Readonly<Record<string, PruningPlan>> {
  const remove = (test: (block: Block) => boolean): PruningPlan => ({
    blocks: model.blocks.filter(test).map(({ id }) => id),
    units: {},
  })
  const isSelfAttention = ({ kind }: Block) => kind === 'attention'
  const mixed = remove(
    ({ layer, kind }) =>
      layer === 1 || (layer === 0 && kind === 'attention') || (layer === 2 && kind !== 'attention' && kind !== 'mlp'),
  )
  const lastMlp = remove(({ layer, kind }) => layer === 2 && kind === 'mlp')
  const plans: Record<string, PruningPlan> = {
    attention: remove(({ layer, kind }) => layer === 1 && kind === 'attention'),
    mlp: remove(({ layer, kind }) => layer === 1 && kind === 'mlp'),
    mixed: { ...mixed, blocks: [...mixed.blocks, ...lastMlp.blocks] },
    noAttention: remove(isSelfAttention),
    uneven: { blocks: [], units: unevenUnits(model) },
    unevenMixed: {
      blocks: remove(({ layer, kind }) => layer === 0 && kind === 'attention').blocks,
      units: Object.fromEntries(
        Object.entries(unevenUnits(model)).filter(([id]) => !/\.0\.attention$/.test(id)),
      ) as PruningPlan['units'],
    },
    uniform: { blocks: [], units: Object.fromEntries(model.blocks.map((block) => [block.id, [0]])) },
  }
  if (model.blocks.some(({ kind }) => kind === 'crossAttention')) {
    const encoderMlps = model.blocks.filter(({ stack, kind }) => stack === 'encoder' && kind === 'mlp')
    plans['encoderChannels'] = { blocks: [], units: Object.fromEntries(encoderMlps.map(({ id }) => [id, [0, 5]])) }
    plans['noCrossAttention'] = remove(({ kind }) => kind === 'crossAttention')
    plans['noEncoder'] = { ...remove(({ stack }) => stack === 'encoder'), outputNorms: 'drop' }
    plans['noDecoder'] = { ...remove(({ stack }) => stack === 'decoder'), outputNorms: 'drop' }
  }
  plans['nothingLeft'] = { ...remove(() => true), outputNorms: 'drop' }
  if (model.blocks.some(({ weights }) => weights['outputNorm'] !== undefined)) {
    plans['mixedWithoutNorms'] = { ...plans['mixed']!, outputNorms: 'drop' }
    plans['noAttentionWithoutNorms'] = { ...plans['noAttention']!, outputNorms: 'drop' }
  }
  return plans
}

/** Other heads and other numbers of channels in every block; a block of one unit keeps it. */
function unevenUnits(model: Model): PruningPlan['units'] {
  const gone = ({ kind, layer, units }: Block) =>
    kind === 'mlp' ? range(0, 3 + 5 * layer) : kind === 'attention' ? [layer % units] : range(layer % 2, 2)
  const units = model.blocks
    .filter((block) => block.units > 2 || (block.units === 2 && block.kind === 'attention' && block.layer % 2 === 0))
    .map((block): [BlockId, number[]] => [block.id, gone(block)])
  return Object.fromEntries(units)
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i)
}
