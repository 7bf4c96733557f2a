import { describe, expect, it } from 'vitest'
import { PlanError } from '../../src/errors.ts'
import { methodOf, methods, optionsOf } from '../../src/methods/known.ts'
import { nearestName } from '../../src/nearestName.ts'
import { toyModel } from './toy.ts'

describe('the list of methods', () => {
  it('names each once, and gives options of one name the same values everywhere', () => {
    expect(new Set(methods.map(({ name }) => name)).size).toBe(methods.length)
    const seen = new Map<string, string>()
    for (const { options } of methods) {
      for (const [name, { says: _, default: __, ...values }] of Object.entries(options)) {
        const text = JSON.stringify(values)
        expect(seen.get(name) ?? text).toBe(text)
        seen.set(name, text)
      }
    }
  })

  it('suggests the nearest name for an unknown one', () => {
    expect(() => methodOf('finer-cut')).toThrow(/did you mean finercut\?/)
    expect(() => methodOf('ShortGPT')).toThrow(/did you mean shortgpt\?/)
    expect(() => methodOf('llama')).toThrow(/did you mean shortened-llama\?/)
    expect(() => methodOf('quantize')).toThrow(/expected one of blockpruner, .*random$/)
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
    const model = toyModel(10)
    const counts = Object.fromEntries(
      methods.map((method) => [method.name, method.removable(model, ['attention', 'mlp'], optionsOf(method)).length]),
    )
    expect(counts).toMatchObject({ blockpruner: 20, finercut: 20, 'shortened-llama': 8, sleb: 16, 'drop-tail': 20 })
    const mlp = (name: string, given = {}) => methodOf(name).removable(model, ['mlp'], optionsOf(methodOf(name), given))
    expect(mlp('llm-drop')).toHaveLength(10)
    expect(() => mlp('sleb')).toThrow(/--kinds mlp: sleb removes whole layers/)
    expect(() => mlp('random', { unit: 'layer' })).toThrow(PlanError)
    expect(methodOf('shortened-llama').removable(model, ['attention', 'mlp'], { plus: false })).toHaveLength(20)
  })
})
