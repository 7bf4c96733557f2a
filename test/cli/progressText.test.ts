import { describe, expect, it } from 'vitest'
import { progressText } from '../../src/cli/progressText.ts'
import type { PruneProgress } from '../../src/run/pruneRequest.ts'
import { Random } from '../../src/tensor/random.ts'
import type { BlockId } from '../../src/types.ts'

const loaded = (budget: object, candidates = 24) =>
  ({ type: 'loaded', budget, candidates, task: 'nextToken', model: {}, rows: {} }) as unknown as PruneProgress
const evaluated = (done: number, of: number, given: object = {}) =>
  ({
    type: 'evaluated',
    done,
    of,
    plan: { blocks: [`decoder.${done}.mlp`] as BlockId[], units: {} },
    loss: 4 + 1 / done,
    unit: 'nats per token',
    measure: 'perplexity',
    share: 1,
    recalled: false,
    ...given,
  }) as PruneProgress
const dense = evaluated(1, 1, { plan: { blocks: [], units: {} }, loss: 3 })
const step = (number: number, share: number) => ({ type: 'step', number, share, step: {} }) as unknown as PruneProgress
const cost = (passes: number) =>
  ({ type: 'cost', passes, seconds: passes, steps: 4, memoryBytes: 1e8 }) as unknown as PruneProgress

/** A clock that a test moves, and what is shown after each event, a second later. */
function shown(events: readonly PruneProgress[]): string[] {
  let ms = 0
  const display = progressText(() => ms)
  return events.map((event) => {
    ms += 1000
    display.see(event)
    return display.text()
  })
}

describe('the progress of a run', () => {
  it('names the phase, and has a bar for each', () => {
    const texts = shown([
      loaded({ remove: 4 }),
      dense,
      { type: 'dense', loss: 3 },
      evaluated(1, 24),
      step(1, 0.25),
      evaluated(1, 1, { measure: 'check perplexity' }),
      { type: 'exporting', writtenBytes: 5e6, totalBytes: 1e7 },
      { type: 'exporting', writtenBytes: 1e7, totalBytes: 1e7 },
    ])
    expect(texts.map((text) => text.split('  ')[0])).toEqual([
      'dense pass',
      'dense pass',
      'step 1 of 4',
      'step 1 of 4',
      'step 2 of 4',
      'checking the step',
      'exporting, 5.0 MB of 10.0 MB',
      'verifying',
    ])
    for (const text of texts) expect(text).toMatch(/[█░]{24}/)
    expect(texts[6]).toContain('█'.repeat(12) + '░'.repeat(12))
  })

  it('says how long from the first candidate on, and learns it', () => {
    const texts = shown([loaded({ remove: 4 }), dense, { type: 'dense', loss: 3 }, cost(45), evaluated(1, 24)])
    // a candidate is half a pass and took a second: 44.5 passes are left
    expect(texts.at(-1)).toContain('about 2 min 58 s left')
    const first = Array.from({ length: 24 }, (_, i) => evaluated(i + 1, 24))
    const second = shown([
      loaded({ remove: 4 }),
      dense,
      { type: 'dense', loss: 3 },
      ...first,
      step(1, 0.25),
      evaluated(1, 23),
    ])
    // 25 candidates took 26 seconds, the end of the step too; three steps like the first one are left, a candidate less
    expect(second.at(-1)).toContain('about 1 min 14 s left')
  })

  it('shows no best that has seen fewer rows than another', () => {
    const texts = shown([
      loaded({ ratio: 0.1 }),
      { type: 'dense', loss: 3 },
      evaluated(1, 3, { loss: 1, share: 0.25 }),
      evaluated(2, 3, { loss: 5, share: 1 }),
      evaluated(3, 3, { loss: 2, share: 0.25 }),
    ])
    expect(texts[2]).toContain('decoder.1.mlp')
    expect(texts[3]).toContain('best so far decoder.2.mlp 148.413')
    expect(texts[4]).toContain('best so far decoder.2.mlp')
  })

  it('never shows a count that is none, whatever comes', () => {
    const random = new Random(7)
    for (let run = 0; run < 30; run++) {
      const budget = run % 2 === 0 ? { remove: 3 } : { ratio: 0.2 }
      const events: PruneProgress[] = [loaded(budget), dense, { type: 'dense', loss: 3 }, cost(random.below(100))]
      for (let number = 1; number < 6; number++) {
        const of = 1 + random.below(9)
        for (let done = 1; done <= of; done++) {
          const loss = random.below(4) === 0 ? Number.NaN : random.uniform() * 9
          events.push(evaluated(done, of, { loss, share: [0.25, 1][random.below(2)], recalled: random.below(2) === 0 }))
        }
        events.push(step(number, Math.min(1, number / 3)))
      }
      const texts = shown(events)
      expect(texts.length).toBeGreaterThan(10)
      for (const text of texts) expect(text).not.toMatch(/0 of 0|Infinity|NaN|~|\?|undefined|step 4 of 3|step 5 of 3/)
    }
  })
})
