import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type * as ort from 'onnxruntime-node'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { composeOnnx } from '../../src/export/onnxGraph.ts'
import { architectures } from '../../src/model/families.ts'
import type { Model } from '../../src/model/model.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import type { PruningPlan } from '../../src/types.ts'
import * as ask from '../asked.ts'
import { expectError } from '../measured.ts'
import {
  call,
  dataOf,
  exportedSessions,
  feedsHalves,
  int64,
  largestDifference,
  openedTiny,
  openTiny,
  relativeError,
} from './onnxSession.ts'

/** Every decoder family, as transformers' defaults make it. */
const families = [
  ...['bloom', 'falcon', 'gemma', 'gemma2', 'gemma3', 'gpt2', 'gpt_neox', 'llama'],
  ...['mistral', 'opt', 'phi', 'phi3', 'qwen2', 'qwen3'],
].map((name) => `tiny-random/${name}`)

/** Forms those leave out: ALiBi by groups and of six heads, windows, odd heads, parallel branches with norms of their own. */
const variants = [
  ...['baichuan-7b', 'baichuan-13b', 'bloom-six-heads', 'falcon-alibi', 'falcon-grouped', 'falcon-grouped-one-norm'],
  ...['gemma2-window', 'gemma3-window', 'gpt2-odd-heads', 'gpt_neox-sequential', 'llama-one-head', 'mistral-window'],
  ...[
    'opt-no-biases',
    'opt-narrow-embeddings',
    'phi-head-norms',
    'phi3-partial',
    'qwen3-wide-heads',
    'qwen3-yarn',
    'phi3-short',
    'seed_oss-biases',
  ],
].map((name) => `tiny-variants/${name}`)

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'onnx-decoders-'))
})
afterAll(() => rm(folder, { recursive: true }))

/** What `model` is tried without; of its heads, where an attention has several. */
function plansOf({ blocks }: Model): [string, PruningPlan][] {
  const ids = (kind: string) => blocks.filter((block) => block.kind === kind).map(({ id }) => id)
  const [attentions, mlps] = [ids('attention'), ids('mlp')]
  const [first, last] = [attentions[0]!, attentions.at(-1)!]
  const hasSeveral = blocks.some(({ id, units }) => id === last && units > 1)
  return [
    ['nothing', emptyPlan],
    ['attention', { blocks: [first], units: {} }],
    ['mlps', { blocks: [...new Set([mlps[0]!, mlps.at(-1)!])], units: {} }],
    [
      'blocks, heads and channels',
      {
        blocks: last === first ? [] : [first],
        units: { ...(hasSeveral && { [last]: [0] }), [mlps[0]!]: [0, 5, 17] },
      },
    ],
    ['any attention', { blocks: attentions, units: {} }],
  ]
}

it('tries every decoder family there is', async () => {
  const opened = await Promise.all([...families, ...variants].map(openTiny))
  const tried = opened.map(({ architecture }) => architecture)
  await Promise.all(opened.map(({ weights }) => weights.close()))
  const known = architectures.filter(({ family }) => family === 'decoder')
  expect(known.filter((architecture) => !tried.includes(architecture))).toEqual([])
})

describe.each([...families, ...variants])('%s', (path) => {
  const tiny = openedTiny(path)

  it.each(['fused', 'plain'] as const)('computes every plan, in one call and step by step: %s', async (attention) => {
    const { model, engine } = tiny
    // longer than the windows of the variants
    const tokens = 24
    const ids = Int32Array.from({ length: tokens }, (_, i) => (i * 37 + 5) % model.sizes['V']!)
    for (const [name, plan] of plansOf(model)) {
      const [session] = await exportedSessions(model, plan, join(folder, 'model'), 'fp32', attention)
      const ours = await ask.logits(engine, { ids, rows: 1, rowLength: tokens }, plan)
      for (const sizes of [[tokens], [9, 1, 1, 13]]) {
        const difference = largestDifference(ours, await chunked(session!, ids, sizes))
        expectError(difference, measured, `without ${name}, in ${sizes.length} calls`)
      }
      await session!.release()
    }
  })

  it('has no fused operator where standard ones are asked for', () => {
    const types = composeOnnx(tiny.model, 'fp32', 'plain')[0]!.nodes.map(({ type }) => type)
    expect(types).not.toContain('GroupQueryAttention')
    expect(types).toContain('Softmax')
  })
})

/** The largest difference of a logit. */
const measured = 9.2e-6

async function chunked(
  session: ort.InferenceSession,
  ids: Int32Array,
  sizes: readonly number[],
): Promise<Float32Array> {
  const parts: number[] = []
  let [caches, done]: [Record<string, ort.Tensor>, number] = [{}, 0]
  for (const size of sizes) {
    const result = await call(
      session,
      {
        input_ids: int64(ids.subarray(done, done + size), [1, size]),
        attention_mask: int64(new Int32Array(done + size).fill(1), [1, done + size]),
        num_logits_to_keep: int64([0], []),
      },
      caches,
    )
    caches = result.caches
    done += size
    parts.push(...dataOf(result.outputs['logits']))
  }
  return Float32Array.from(parts)
}

it('says how long a row may be where positions turn otherwise in longer ones, and refuses those', async () => {
  const model = await openTiny('tiny-variants/phi3-short')
  const [session] = await exportedSessions(model, emptyPlan, join(folder, 'long'))
  try {
    const config = JSON.parse(await readFile(join(folder, 'long/config.json'), 'utf8'))
    expect([model.config['max_position_embeddings'], config.max_position_embeddings]).toEqual([128, 48])
    const ids = Int32Array.from({ length: 49 }, (_, i) => (i * 37 + 5) % model.sizes['V']!)
    expect(await chunked(session!, ids, [48])).toHaveLength(48 * model.sizes['V']!)
    await expect(chunked(session!, ids, [48, 1])).rejects.toThrow(/rotary.*out of data bounds/)
  } finally {
    await session!.release()
    await model.weights.close()
  }
})

describe('attention from plain operators', () => {
  // measured, relative to the size of the logits: fp16 5.6e-4, q8 1.9e-2, q4 0.18; weights are random, and heads have 5 channels
  it.for([
    ['fp16', 2e-3],
    ['q8', 6e-2],
    ['q4', 0.4],
  ] as const)('stays near the plan in %s, also with a cache', async ([dtype, limit], { skip }) => {
    if (dtype === 'fp16' && !feedsHalves) skip('onnxruntime-node cannot be fed half tensors on this Node')
    for (const path of ['tiny-random/bloom', 'tiny-random/gpt_neox', 'tiny-variants/gpt2-odd-heads']) {
      const model = await openTiny(path)
      const engine = openLocalEngine(model, { threads: 1 })
      const ids = Int32Array.from({ length: 24 }, (_, i) => (i * 37 + 5) % model.sizes['V']!)
      const plan = plansOf(model)[3]![1]
      const [session] = await exportedSessions(model, plan, join(folder, 'dtypes'), dtype)
      const found = await chunked(session!, ids, [9, 1, 14])
      const error = relativeError(await ask.logits(engine, { ids, rows: 1, rowLength: 24 }, plan), found)
      expect(error, path).toBeLessThan(limit)
      expect(error, path).toBeGreaterThan(0)
      await Promise.all([session!.release(), engine.close(), model.weights.close()])
    }
  })

  it.each([
    ...['tiny-random/bloom', 'tiny-variants/falcon-alibi', 'tiny-random/gpt_neox', 'tiny-random/gpt2'],
    ...['tiny-random/llama', 'tiny-random/opt', 'tiny-variants/gemma2-window'],
  ])('sees no padding, on whichever side it is, also with a cache: %s', async (path) => {
    const model = await openTiny(path)
    const engine = openLocalEngine(model, { threads: 1 })
    const V = model.sizes['V']!
    const [session] = await exportedSessions(model, emptyPlan, join(folder, 'padded'), 'fp32', 'plain')
    try {
      const long = Int32Array.from({ length: 8 }, (_, i) => (i * 29 + 3) % V)
      const short = long.subarray(0, 5)
      const [all, some] = [
        await ask.logits(engine, { ids: long, rows: 1, rowLength: 8 }, emptyPlan),
        await ask.logits(engine, { ids: short, rows: 1, rowLength: 5 }, emptyPlan),
      ]
      // two rows: one whole, one that begins with padding; then a ninth token for both
      const left = Int32Array.of(...long, 1, 1, 1, ...short)
      const mask = [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1]
      const first = await call(session!, {
        input_ids: int64(left, [2, 8]),
        attention_mask: int64(mask, [2, 8]),
        num_logits_to_keep: int64([0], []),
      })
      const logits = dataOf(first.outputs['logits'])
      expectError(largestDifference(all, logits.slice(0, 8 * V)), measured)
      expectError(largestDifference(some, logits.slice(11 * V)), measured)
      const second = await call(
        session!,
        {
          input_ids: int64([7, 7], [2, 1]),
          attention_mask: int64([...mask.slice(0, 8), 1, ...mask.slice(8), 1], [2, 9]),
          num_logits_to_keep: int64([0], []),
        },
        first.caches,
      )
      const next = await ask.logits(engine, { ids: Int32Array.of(...short, 7), rows: 1, rowLength: 6 }, emptyPlan)
      expectError(largestDifference(next.slice(5 * V), dataOf(second.outputs['logits']).slice(V)), measured)
    } finally {
      await session!.release()
      await engine.close()
      await model.weights.close()
    }
  })
})
