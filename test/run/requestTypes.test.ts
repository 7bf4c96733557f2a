import { describe, expect, expectTypeOf, it } from 'vitest'
import type { MethodName, PackedRows, PruneModelRequest, readRows, SearchName } from '../../src/index.ts'
import { pruneModel } from '../../src/index.ts'
import { methods, searches } from '../../src/methods/registry.ts'

const request = {
  model: 'embedded',
  output: 'never written',
  calibration: { dataset: 'embedded', nsamples: 1, seqlen: 16, seed: 1 },
  seed: 1,
} as const
/** Compiles or not: that is what is tested. */
const accepted = (asked: PruneModelRequest) => asked

describe('the types of a request', () => {
  it('name every method and search, and no other', () => {
    expectTypeOf<MethodName>().toEqualTypeOf<
      | ('angular' | 'blockpruner' | 'drop-tail' | 'finercut' | 'flap' | 'given' | 'llm-drop' | 'magnitude')
      | ('policy-gradient' | 'random' | 'shortened-llama' | 'shortgpt' | 'sleb')
    >()
    expectTypeOf<SearchName>().toEqualTypeOf<'beam' | 'evolve' | 'exact' | 'fast' | 'swap'>()
    expect(methods.map(({ name }) => name).sort()).toHaveLength(13)
    expect(searches).toHaveLength(5)
    expectTypeOf<Awaited<ReturnType<typeof readRows>>>().toEqualTypeOf<PackedRows>()
  })

  it('know the options of each, and refuse those of another', () => {
    const compiled = [
      accepted(request),
      accepted({ ...request, method: 'finercut', methodOptions: { distance: 'kl', 'top-k': 4 } }),
      accepted({ ...request, method: 'given', methodOptions: { removeBlocks: ['decoder.1'] } }),
      accepted({ ...request, searching: { search: 'beam', beamWidth: 2, layout: 'stock', objectives: ['js'] } }),
      accepted({ ...request, budget: { ratio: 0.1, ratioRule: 'nearest' } }),
      // @ts-expect-error: no method has this name
      accepted({ ...request, method: 'finecut' }),
      // @ts-expect-error: it is a search
      accepted({ ...request, method: 'fast' }),
      // @ts-expect-error: a distance that there is not
      accepted({ ...request, method: 'finercut', methodOptions: { distance: 'l2' } }),
      // @ts-expect-error: an option of another method
      accepted({ ...request, method: 'sleb', methodOptions: { distance: 'js' } }),
      // @ts-expect-error: an option of another search
      accepted({ ...request, searching: { search: 'fast', beamWidth: 2 } }),
      // @ts-expect-error: a measure that there is not
      accepted({ ...request, searching: { objectives: ['loss'] } }),
      // @ts-expect-error: a rule that there is not
      accepted({ ...request, budget: { ratio: 0.1, ratioRule: 'about' } }),
    ]
    expect(compiled).toHaveLength(12)
  })

  it('say nothing of ranges: those are checked when a run begins', async () => {
    const beam = { ...request, searching: { search: 'beam', beamWidth: 0 } } as const
    await expect(pruneModel(beam)).rejects.toThrow('--beam-width 0: expected a whole number from 1 to 10000')
    const frozen = { ...request, method: 'finercut', methodOptions: { freeze: 2 } } as const
    await expect(pruneModel(frozen)).rejects.toThrow('--freeze 2: expected a number from 0 to 1')
  })
})
