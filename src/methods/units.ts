import { PlanError } from '../errors.ts'
import { kindsOf } from '../model/kinds.ts'
import { layersOf } from '../model/layers.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan, remainingBlocks } from '../model/plan.ts'
import type { BlockId, BlockKind } from '../types.ts'
import type { LoopOptions, Scope } from './method.ts'
import type { MethodOption } from './options.ts'

/** What a method removes at once: one block, or all blocks of a layer. */
export type Unit = 'block' | 'layer'

/** The option that chooses between them. */
export const unitOption = <Default extends Unit>(byDefault: Default) =>
  ({
    type: 'choice',
    choices: ['block', 'layer'],
    default: byDefault,
    says: 'what goes at once',
  }) as const satisfies MethodOption

/** The block groups of `model` that go together and may go: single blocks of `kinds`, kind by kind, or layers in forward order. */
export function unitsOf(model: Model, unit: Unit, options: LoopOptions = {}): BlockId[][] {
  const { kinds = kindsOf(model) } = options
  if (unit === 'layer') return mayGo(wholeLayers(model), options)
  return mayGo(
    remainingBlocks(model, emptyPlan, kinds).map(({ id }) => [id]),
    options,
  )
}

/** The blocks of each layer, in forward order. */
export function wholeLayers(model: Model): BlockId[][] {
  return layersOf(model).map(({ blocks }) => blocks.map(({ id }) => id))
}

/** Those of `groups` that hold no block that must stay or is gone from the start. */
export function mayGo(groups: readonly BlockId[][], { start = emptyPlan, keep }: LoopOptions): BlockId[][] {
  return groups.filter((blocks) => !blocks.some((id) => keep?.has(id) || start.blocks.includes(id)))
}

/** All that a method of single blocks may remove. */
export function singleRemovable({ model, ...scope }: Scope): BlockId[] {
  return unitsOf(model, 'block', scope).flat()
}

/** All that a method may remove whose option `unit` says what goes at once. */
export function removableByUnit(name: string) {
  return ({ model, ...scope }: Scope, { unit }: { readonly unit: Unit }): BlockId[] => {
    if (unit === 'layer') checkWholeLayers(`${name} --unit layer`, scope.kinds)
    return unitsOf(model, unit, scope).flat()
  }
}

/** Throws `PlanError` when layers are asked for and only some of their blocks may go. */
export function checkWholeLayers(method: string, kinds: readonly BlockKind[]): void {
  if (kinds.includes('attention') && kinds.includes('mlp')) return
  throw new PlanError(
    `--kinds ${kinds.join(',')}: ${method} removes whole layers, expected attention,mlp; ` +
      'leave --kinds out, or take a method that removes blocks',
  )
}
