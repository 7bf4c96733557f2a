import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { PlanError } from '../../src/errors.ts'
import { methodOf, methods, optionsOf, searches, searchOf } from '../../src/methods/registry.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import { nearestName } from '../../src/nearestName.ts'
import type { BlockId, BlockKind } from '../../src/types.ts'
import { toyModel } from './toy.ts'

const scope = (layers: number, kinds: readonly BlockKind[], keep: readonly BlockId[] = []) => ({
  model: toyModel(layers),
  kinds,
  start: emptyPlan,
  keep: new Set(keep),
})

describe('the list of methods', () => {
  it('is the only place outside its own file that knows a method', () => {
    const root = resolve(import.meta.dirname, '../../src')
    const shared = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(
      (path) => path.endsWith('.ts') && !/^(methods|search)\//.test(path) && path !== 'index.ts',
    )
    expect(shared.length).toBeGreaterThan(100)
    // a distance and a letter of rotary scaling are called as two of them are, and the package as one
    const words = ['angular', 'magnitude', 'given', 'blockpruner']
    const names = [...methods, ...searches].map(({ name }) => name).filter((name) => !words.includes(name))
    const asking = shared.flatMap((path) => {
      const text = readFileSync(join(root, path), 'utf8')
      return names.filter((name) => text.includes(`'${name}'`)).map((name) => `${path} names ${name}`)
    })
    expect(asking).toEqual([])
  })

  it('names each once, and gives options of one name the same values everywhere', () => {
    const all = [...methods, ...searches]
    expect(new Set(all.map(({ name }) => name)).size).toBe(all.length)
    expect(methods).toHaveLength(13)
    expect(searches).toHaveLength(5)
    const seen = new Map<string, string>()
    for (const { options } of all) {
      for (const [name, { says: _, ...described }] of Object.entries(options)) {
        const text = JSON.stringify({ ...described, default: undefined })
        expect(seen.get(name) ?? text).toBe(text)
        seen.set(name, text)
      }
    }
  })

  it('suggests the nearest name for an unknown one', () => {
    expect(() => methodOf('finer-cut')).toThrow(/did you mean finercut\?/)
    expect(() => methodOf('ShortGPT')).toThrow(/did you mean shortgpt\?/)
    expect(() => methodOf('llama')).toThrow(/did you mean shortened-llama\?/)
    expect(() => methodOf('quantize')).toThrow(/expected one of angular, blockpruner, .*sleb$/)
    expect(() => searchOf('evolv')).toThrow(/--search evolv: is no search, .*did you mean evolve\?/)
    expect(nearestName('', ['a-long-name'])).toBeUndefined()
  })

  it('fills in defaults and refuses what a method does not have', () => {
    const finercut = methodOf('finercut')
    expect(optionsOf(finercut)).toEqual({ distance: 'js', order: 'forward' })
    expect(optionsOf(finercut, { distance: 'kl', freeze: 0.4 })).toEqual({
      distance: 'kl',
      order: 'forward',
      freeze: 0.4,
    })
    expect(() => optionsOf(methodOf('sleb'), { distance: 'js' })).toThrow(
      '--distance: is not an option of sleb, which has no options of its own; it is an option of finercut',
    )
    expect(() => optionsOf(finercut, { distance: 'angle' })).toThrow(PlanError)
    expect(() => optionsOf(finercut, { distance: 'jss' })).toThrow(/did you mean js\?/)
    expect(() => optionsOf(finercut, { freeze: 2 })).toThrow('--freeze 2: expected a number from 0 to 1')
    expect(() => optionsOf(methodOf('shortened-llama'), { plus: 'no' })).toThrow('expected true or false')
    expect(() => optionsOf(finercut, { constructor: 1 })).toThrow(/is not an option/)
    expect(() => optionsOf(finercut, { 'top-k': 5, distance: 'euclidean' })).toThrow(/--distance euclidean needs all/)
    expect(optionsOf(finercut, { 'top-k': 5 })).toMatchObject({ 'top-k': 5 })
  })

  it('knows what each may remove', () => {
    const counts = Object.fromEntries(
      methods
        .filter(({ removesAll }) => !removesAll)
        .map((method) => [method.name, method.removable(scope(10, ['attention', 'mlp']), optionsOf(method)).length]),
    )
    expect(counts).toMatchObject({ blockpruner: 20, finercut: 20, 'shortened-llama': 8, sleb: 16, 'drop-tail': 20 })
    const mlp = (name: string, given = {}) =>
      methodOf(name).removable(scope(10, ['mlp']), optionsOf(methodOf(name), given))
    expect(mlp('llm-drop')).toHaveLength(10)
    expect(() => mlp('sleb')).toThrow(/--kinds mlp: sleb removes whole layers/)
    expect(() => mlp('random', { unit: 'layer' })).toThrow(PlanError)
    expect(methodOf('shortened-llama').removable(scope(10, ['attention', 'mlp']), { plus: false })).toHaveLength(20)
  })
})
