import { PlanError, ToolkitError } from '../errors.ts'
import { describeExport, isStockPlan } from '../export/huggingface.ts'
import { maskUnits } from '../methods/maskUnits.ts'
import type { Method } from '../methods/method.ts'
import type { MethodOptions } from '../methods/options.ts'
import { wholeLayers } from '../methods/units.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan } from '../model/plan.ts'
import { adjacentBlocks } from '../search/candidates.ts'
import type { BlockId, PruningPlan } from '../types.ts'
import { type Format, otherFormats } from './otherFormats.ts'
import type { PlanLayout } from './searchRequest.ts'

/** What is known of the plan of a run before its search. */
export interface ComingPlan {
  readonly method: Method
  readonly options: MethodOptions
  readonly layout: PlanLayout
  /** The plan that the search begins at. */
  readonly start: PruningPlan
  /** Without all that may be removed. */
  readonly most: PruningPlan
  /** All that may be removed will be. */
  readonly isAll: boolean
}

/** What keeps a search to plans that a format has a form for. */
const cures: Readonly<Record<Format, string>> = {
  huggingface: 'take a method of whole layers (--method sleb), or --layout stock',
  gguf: 'take a method of whole layers (--method sleb) or --layout stock, or another format',
  onnx: 'take a method of whole layers (--method sleb), or another format',
  nemotron: 'take --keep-blocks decoder.0.attention and a method of blocks or layers, or another format',
  mergekit: 'take a method of whole layers (--method sleb), or another format',
}

/**
 * Throws, before hours of search, where one of `formats` has no form for the dense model, its tokenizer, or a plan that may be found:
 * each first step that the method or the search can take is tried, and the whole plan where it is known.
 */
export async function checkFormats(model: Model, formats: readonly Format[], coming: ComingPlan): Promise<void> {
  for (const format of formats) {
    describe(format, model, emptyPlan)
    for (const plan of comingPlans(model, coming)) checkComing(format, model, plan, coming)
    await checkCarried(format, model)
  }
}

/** Throws where one of `formats` has no form for `plan` or for the tokenizer; reads no weights. */
export async function checkPlanFormats(model: Model, plan: PruningPlan, formats: readonly Format[]): Promise<void> {
  for (const format of formats) {
    describe(format, model, plan)
    await checkCarried(format, model)
  }
}

async function checkCarried(format: Format, model: Model): Promise<void> {
  if (format !== 'huggingface') await otherFormats[format].checkCarried?.(model)
}

function describe(format: Format, model: Model, plan: PruningPlan): void {
  if (format === 'huggingface') describeExport(model, plan)
  else otherFormats[format].describe(model, plan)
}

function checkComing(format: Format, model: Model, plan: PruningPlan, { start, isAll }: ComingPlan): void {
  try {
    describe(format, model, plan)
  } catch (cause) {
    if (!(cause instanceof ToolkitError)) throw cause
    const gone = [...plan.blocks.filter((id) => !start.blocks.includes(id)), ...Object.keys(plan.units)]
    const found = isAll
      ? 'the plan that is asked for'
      : `every plan that may be found, such as one that takes from ${gone.join(' and ')}`
    throw new PlanError(`--format ${format}: has no form for ${found} (${cause.message}); ${cures[format]}`, { cause })
  }
}

/** The first steps that may be taken, of which no format may refuse any; or the only plan there can be. */
function comingPlans(model: Model, { method, options, layout, start, most, isAll }: ComingPlan): PruningPlan[] {
  if (isAll) return [most]
  const without = (blocks: readonly BlockId[]): PruningPlan => ({ ...start, blocks: [...start.blocks, ...blocks] })
  const mayGo = (blocks: readonly BlockId[]) =>
    blocks.every((id) => most.blocks.includes(id) && !start.blocks.includes(id))
  if (layout === 'stock') {
    const pairs = adjacentBlocks(model).removals(start).filter(mayGo).map(without)
    return pairs.filter((plan) => isStockPlan(model, plan))
  }
  const masks = method.masks?.(options)
  if (masks !== undefined) {
    const first = maskUnits(model, masks, { start }).filter(({ index = 0 }) => index === 0)
    return first
      .filter(({ blocks }) => mayGo(blocks))
      .map(({ blocks, index }) => (index === undefined ? without(blocks) : { ...start, units: { [blocks[0]!]: [0] } }))
  }
  const groups = method.takesLayers?.(options) ? wholeLayers(model) : most.blocks.map((id) => [id])
  return groups.filter(mayGo).map(without)
}
