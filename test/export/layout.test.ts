import { describe, expect, test } from 'vitest'
import { type Layout, layoutOf, type NewLayer } from '../../src/export/layout.ts'
import type { StackTable } from '../../src/model/architecture.ts'
import type { Model } from '../../src/model/model.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import type { Block, BlockId, BlockKind, PruningPlan, StackName } from '../../src/types.ts'

interface Shape {
  readonly layers: number
  readonly kinds: readonly BlockKind[]
  readonly form?: object
}

/** A model of which a layout sees only the order of its blocks. */
function modelOf(stacks: Readonly<Partial<Record<StackName, Shape>>>): Model {
  const tables = Object.entries(stacks).map(([stack, { layers, kinds, form = {} }]) => [
    stack,
    { layers: () => layers, blocks: kinds.map((kind) => ({ kind, unit: 'K', weights: () => ({}), form: () => form })) },
  ]) as [StackName, StackTable][]
  const blocks = Object.entries(stacks).flatMap(([stack, { layers, kinds, form = {} }]) =>
    Array.from({ length: layers }, (_, layer) =>
      kinds.map((kind) => blockOf(stack as StackName, layer, kind, form)),
    ).flat(),
  )
  const architecture = { stacks: Object.fromEntries(tables) }
  const nothing = { sizes: { D: 1, K: 2 }, outer: {}, weights: { tensors: new Map() }, bareNorms: [], applied: [] }
  return { id: 'toy', blocks, config: {}, architecture, ...nothing } as unknown as Model
}

function blockOf(stack: StackName, layer: number, kind: BlockKind, form: object): Block {
  const id: BlockId = `${stack}.${layer}.${kind}`
  const weights = 'outputNorm' in form ? { outputNorm: [`${id}.norm`, 'D'] as const } : {}
  const table = { kind, unit: 'K' as const, weights: () => ({}), form: () => form }
  return { id, kind, stack, layer, units: 2, parameters: 0, weights, table } as unknown as Block
}

const plan = (...blocks: string[]): PruningPlan => ({ blocks: blocks as BlockId[], units: {} })

/** Every way to leave out blocks. */
function* everyPlan(model: Model): Generator<PruningPlan> {
  for (let mask = 0; mask < 1 << model.blocks.length; mask++) {
    yield plan(...model.blocks.filter((_, i) => mask & (1 << i)).map(({ id }) => id))
  }
}

/** The fewest layers for kinds in forward order: tries every way to cut the sequence into layers. */
function fewestLayers(kinds: readonly number[]): number {
  if (kinds.length === 0) return 0
  let best = Number.POSITIVE_INFINITY
  for (let length = 1; length <= kinds.length; length++) {
    const layer = kinds.slice(0, length)
    if (layer.some((kind, i) => i > 0 && kind <= layer[i - 1]!)) break
    best = Math.min(best, 1 + fewestLayers(kinds.slice(length)))
  }
  return best
}

const flatten = (layers: readonly NewLayer[], kinds: readonly BlockKind[]) =>
  layers.flatMap((layer) => kinds.flatMap((kind) => (layer[kind] === undefined ? [] : [`${layer[kind]}.${kind}`])))

const decoderKinds: readonly BlockKind[] = ['attention', 'mlp']
const decoder = modelOf({ decoder: { layers: 4, kinds: decoderKinds } })

function decide(...blocks: string[]): Layout {
  return layoutOf(decoder, plan(...blocks.map((block) => `decoder.${block}`)))
}

describe('the layout of an export', () => {
  test('keeps a dense model as it is', () => {
    expect(layoutOf(modelOf({ decoder: { layers: 2, kinds: decoderKinds } }), emptyPlan)).toEqual({
      form: 'whole',
      stacks: {
        decoder: [
          { attention: 0, mlp: 0 },
          { attention: 1, mlp: 1 },
        ],
      },
    })
  })

  test('renumbers whole layers', () => {
    expect(decide('1.attention', '1.mlp', '2.mlp', '2.attention')).toEqual({
      form: 'whole',
      stacks: {
        decoder: [
          { attention: 0, mlp: 0 },
          { attention: 3, mlp: 3 },
        ],
      },
    })
  })

  test('has no layers for a model of which an export has left none', () => {
    const form = () => {
      throw new RangeError('layer 0 is not there to be asked')
    }
    const stack = { layers: () => 0, blocks: [{ kind: 'mlp', unit: 'F', weights: () => ({}), form }] } as StackTable
    const none = { ...modelOf({}), architecture: { stacks: { decoder: stack } } } as unknown as Model
    expect(layoutOf(none, emptyPlan)).toEqual({ form: 'whole', stacks: { decoder: [] } })
  })

  test('packs an attention and the mlp of a later layer into a stock layer', () => {
    expect(decide('0.mlp', '1.attention')).toEqual({
      form: 'repacked',
      stacks: {
        decoder: [
          { attention: 0, mlp: 1 },
          { attention: 2, mlp: 2 },
          { attention: 3, mlp: 3 },
        ],
      },
    })
  })

  test('is custom when the first attention is gone, and drops a layer without branches', () => {
    expect(decide('0.attention', '2.attention', '2.mlp')).toEqual({
      form: 'custom',
      stacks: { decoder: [{ mlp: 0 }, { attention: 1, mlp: 1 }, { attention: 3, mlp: 3 }] },
    })
  })

  test('is whole without any block', () => {
    const everything = decoder.blocks.map(({ id }) => id.replace('decoder.', ''))
    expect(decide(...everything)).toEqual({ form: 'whole', stacks: { decoder: [] } })
  })

  test('takes a block that loses all its units for a block that goes', () => {
    expect(layoutOf(decoder, { blocks: ['decoder.0.mlp'], units: { 'decoder.1.attention': [0, 1] } })).toEqual(
      decide('0.mlp', '1.attention'),
    )
  })

  test('agrees with enumeration for all 256 plans of four decoder layers', () => {
    const forms: Record<string, number> = {}
    for (const removed of everyPlan(decoder)) {
      const gone = new Set(removed.blocks)
      const kept = decoder.blocks.filter(({ id }) => !gone.has(id))
      const { form, stacks } = layoutOf(decoder, removed)
      const layers = stacks.decoder ?? []
      expect(flatten(layers, decoderKinds)).toEqual(kept.map(({ layer, kind }) => `${layer}.${kind}`))
      expect(layers.length).toBe(fewestLayers(kept.map(({ kind }) => decoderKinds.indexOf(kind))))
      const letters = kept.map(({ kind }) => kind[0]).join('')
      const complete = [0, 1, 2, 3].every((layer) => kept.filter((block) => block.layer === layer).length !== 1)
      expect(form).toBe(complete ? 'whole' : /^(am)*$/.test(letters) ? 'repacked' : 'custom')
      forms[form] = (forms[form] ?? 0) + 1
    }
    expect(forms).toEqual({ whole: 16, repacked: 18, custom: 222 })
  })

  test('agrees with enumeration for an encoder beside a decoder with cross-attention', () => {
    const kinds: readonly BlockKind[] = ['attention', 'crossAttention', 'mlp']
    const model = modelOf({ encoder: { layers: 1, kinds: decoderKinds }, decoder: { layers: 2, kinds } })
    for (const removed of everyPlan(model)) {
      const { form, stacks } = layoutOf(model, removed)
      const gone = new Set(removed.blocks)
      const kept = model.blocks.filter(({ id, stack }) => stack === 'decoder' && !gone.has(id))
      const layers = stacks.decoder ?? []
      expect(flatten(layers, kinds)).toEqual(kept.map(({ layer, kind }) => `${layer}.${kind}`))
      expect(layers.length).toBe(fewestLayers(kept.map(({ kind }) => kinds.indexOf(kind))))
      const isStock = [...layers, ...(stacks.encoder ?? []).map((layer) => ({ ...layer, crossAttention: 0 }))].every(
        (layer) => Object.keys(layer).length === 3,
      )
      expect(form !== 'custom').toBe(isStock)
    }
  })

  test('never pairs parallel branches of two layers, which would read different inputs', () => {
    const model = modelOf({ decoder: { layers: 3, kinds: decoderKinds, form: { parallel: true } } })
    expect(layoutOf(model, plan('decoder.0.mlp', 'decoder.1.attention'))).toEqual({
      form: 'custom',
      stacks: { decoder: [{ attention: 0 }, { mlp: 1 }, { attention: 2, mlp: 2 }] },
    })
  })

  test('is custom as soon as a block leaves the norm of its output behind, not where the plan drops it', () => {
    const model = modelOf({ encoder: { layers: 2, kinds: decoderKinds, form: { outputNorm: { type: 'layer' } } } })
    expect(layoutOf(model, emptyPlan).form).toBe('whole')
    const lastLayer = plan('encoder.1.attention', 'encoder.1.mlp')
    expect(layoutOf(model, lastLayer).form).toBe('custom')
    expect(layoutOf(model, { ...lastLayer, outputNorms: 'drop' }).form).toBe('whole')
  })
})
