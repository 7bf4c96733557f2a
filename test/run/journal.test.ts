import { appendFileSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { OutputError } from '../../src/errors.ts'
import { openJournal } from '../../src/run/journal.ts'
import type { PruningPlan } from '../../src/types.ts'

const newPath = () => join(mkdtempSync(join(tmpdir(), 'journal-')), 'journal.jsonl')
const plan = (...layers: number[]): PruningPlan => ({
  blocks: layers.map((l) => `decoder.${l}.mlp` as const),
  units: {},
})

describe('the journal', () => {
  it('gives back every evaluation bit by bit, non-finite losses too', () => {
    const path = newPath()
    const losses = Float64Array.of(0.1 + 0.2, 1e-300, Number.NaN, Number.POSITIVE_INFINITY)
    const journal = openJournal(path, { seed: 1 })
    journal.append({ measure: 'perplexity' }, plan(3, 1), losses)
    journal.close()
    const again = openJournal(path, { seed: 1 })
    expect(again.recalled).toBe(1)
    expect(again.recall({ measure: 'perplexity' }, plan(1, 3))).toEqual(losses)
    expect(again.recall({ measure: 'kl' }, plan(1, 3))).toBeUndefined()
    expect(again.recall({ measure: 'perplexity' }, plan(1))).toBeUndefined()
    again.close()
  })

  it('tells plans with different units apart', () => {
    const journal = openJournal(newPath(), {})
    journal.append({ measure: 'perplexity' }, { blocks: [], units: { 'decoder.0.mlp': [4, 2] } }, Float64Array.of(1))
    expect(journal.recall({ measure: 'perplexity' }, { blocks: [], units: { 'decoder.0.mlp': [2, 4] } })).toEqual(
      Float64Array.of(1),
    )
    expect(journal.recall({ measure: 'perplexity' }, { blocks: [], units: { 'decoder.0.mlp': [2] } })).toBeUndefined()
    expect(journal.recall({ measure: 'perplexity' }, plan())).toBeUndefined()
    journal.close()
  })

  it('has each line in the file before append returns', () => {
    const path = newPath()
    const journal = openJournal(path, {})
    journal.append({ measure: 'perplexity' }, plan(0), Float64Array.of(2))
    expect(readFileSync(path, 'utf8').trimEnd().split('\n')).toHaveLength(2)
    journal.close()
  })

  it('drops a last line that a kill cut short, and goes on after it', () => {
    const path = newPath()
    const journal = openJournal(path, {})
    journal.append({ measure: 'perplexity' }, plan(0), Float64Array.of(2))
    journal.close()
    appendFileSync(path, '{"measure":"perplexity","blocks":["decoder.1.mlp"],"los')
    const again = openJournal(path, {})
    expect(again.recalled).toBe(1)
    again.append({ measure: 'perplexity' }, plan(1), Float64Array.of(3))
    again.close()
    const third = openJournal(path, {})
    expect(third.recalled).toBe(2)
    third.close()
  })

  it('starts anew when the kill came within the first line', () => {
    const path = newPath()
    writeFileSync(path, '{"version":1,"inp')
    const journal = openJournal(path, { seed: 1 })
    expect(journal.recalled).toBe(0)
    journal.close()
    openJournal(path, { seed: 1 }).close()
  })

  it('refuses a run made from other inputs and names what differs', () => {
    const path = newPath()
    const journal = openJournal(path, { seed: 1, model: { sha256: 'a', id: 'x' } })
    journal.append({ measure: 'perplexity' }, plan(), Float64Array.of(1))
    journal.close()
    expect(() => openJournal(path, { seed: 2, model: { sha256: 'a', id: 'y' } })).toThrowError(
      /seed is 1 there and 2 now; model.id is "x" there and "y" now/,
    )
  })

  it('starts anew with other inputs where nothing was evaluated, but not in a file of something else', () => {
    const path = newPath()
    openJournal(path, { seed: 1 }).close()
    openJournal(path, { seed: 2 }).close()
    expect(readFileSync(path, 'utf8')).toBe('{"version":2,"inputs":{"seed":2}}\n')
    writeFileSync(path, '{"mine":1}\n')
    expect(() => openJournal(path, { seed: 1 })).toThrowError(OutputError)
    expect(readFileSync(path, 'utf8')).toBe('{"mine":1}\n')
  })

  it('refuses a journal damaged in the middle, naming the line', () => {
    const path = newPath()
    openJournal(path, {}).close()
    appendFileSync(path, 'garbage\n{"measure":"perplexity","blocks":[],"values":[1]}\n')
    expect(() => openJournal(path, {})).toThrowError(OutputError)
    expect(() => openJournal(path, {})).toThrowError(/line 2 is damaged/)
  })
})
