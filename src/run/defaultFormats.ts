import { ToolkitError } from '../errors.ts'
import { describeGguf } from '../export/gguf.ts'
import { isGgufPath } from '../model/gguf/open.ts'
import type { Model } from '../model/model.ts'
import type { Format } from './otherFormats.ts'

/** The format of an export where none is asked for: that of the model, GGUF only where a plan of single blocks has such a form. */
export function defaultFormats(model: Model): readonly Format[] {
  return isGgufPath(model.path) && hasGgufForm(model) ? ['gguf'] : ['huggingface']
}

function hasGgufForm(model: Model): boolean {
  try {
    describeGguf(model, { blocks: model.blocks.slice(0, 1).map(({ id }) => id), units: {} })
    return true
  } catch (error) {
    if (error instanceof ToolkitError) return false
    throw error
  }
}
