import { isDeepStrictEqual } from 'node:util'
import { PlanError, UnsupportedModelError } from '../errors.ts'
import { refuseExisting, writeFileAtomic } from '../format/atomicFile.ts'
import { applyPlan } from '../model/applyPlan.ts'
import { isGgufPath } from '../model/gguf/open.ts'
import type { Model } from '../model/model.ts'
import { outputBiasesOf } from '../model/outputBias.ts'
import { emptyPlan } from '../model/plan.ts'
import type { PruningPlan, StopSignal } from '../types.ts'
import { exportRecord, recordEntries } from './exportRecord.ts'
import { layoutOf } from './layout.ts'
import { publicName } from './publicName.ts'

/**
 * The mergekit configuration (`merge_method: passthrough`) that builds the same model from the dense one, `baseModel` or what
 * the user called it, for a plan of whole layers. Throws `PlanError` for any other plan: mergekit moves layers, not branches
 * or widths, and leaves what config.json says of a layer to the one that takes its number; and `UnsupportedModelError` for a GGUF file.
 *
 * Format: arcee-ai/mergekit, README.
 */
export function mergekitYaml(model: Model, plan: PruningPlan, baseModel: string = publicName(model.id)): string {
  if (isGgufPath(model.path)) {
    throw new UnsupportedModelError(
      `${model.id}: is a GGUF file, expected a model that mergekit reads, a folder or a hub id; export to huggingface or gguf`,
    )
  }
  const pruned = applyPlan(model, plan)
  const { form, stacks } = layoutOf(pruned, emptyPlan)
  const dense = new Map(model.blocks.map(({ id, units }) => [id, units]))
  const changed = new Set(outputBiasesOf(plan).map(([id]) => id))
  const narrowed = pruned.blocks.find(({ id, units }) => units !== dense.get(id) || changed.has(id))
  if (model.architecture.family !== 'decoder' || form !== 'whole' || narrowed !== undefined) {
    const found = narrowed === undefined ? `blocks that are ${form}` : `${narrowed.id} changed inside`
    throw new PlanError(
      `plan: leaves ${found}, expected whole layers of a decoder for mergekit; export to huggingface, gguf or onnx`,
    )
  }
  const layers = (stacks.decoder ?? []).map(({ attention }) => attention!)
  if (layers.length === 0)
    throw new PlanError(`plan: leaves no layer of ${model.id}, expected at least one for mergekit`)
  const moved = layers.findIndex((layer, place) => !isSameLayer(model, layer, place))
  if (moved !== -1) {
    throw new PlanError(
      `plan: layer ${layers[moved]} becomes layer ${moved}, which has another attention by the rules of config.json, expected the same window and scale for both, as mergekit changes only the number of layers there; export to huggingface or onnx`,
    )
  }
  const sources = rangesOf(layers).map(
    // a JSON text is a YAML text
    ([start, end]) =>
      `  - sources:\n      - model: ${JSON.stringify(baseModel)}\n        layer_range: [${start}, ${end}]\n`,
  )
  return `merge_method: passthrough\ndtype: ${dtypeOf(model)}\nslices:\n${sources.join('')}`
}

/** Writes `mergekitYaml` to `path`, with the record of the export as comments above. Throws as that does, and `OutputError`. */
export async function exportMergekit(
  model: Model,
  plan: PruningPlan,
  path: string,
  {
    signal,
    replace = false,
  }: { readonly signal?: StopSignal | undefined; readonly replace?: boolean | undefined } = {},
): Promise<void> {
  const yaml = mergekitYaml(model, plan)
  if (!replace) await refuseExisting(path)
  const record = recordEntries(await exportRecord(model, plan)).map(([key, value]) => `# ${key}: ${value}\n`)
  await writeFileAtomic(path, record.join('') + yaml, { signal })
}

/** Whether config.json says the same of two layers: windows may go by a list or a rule of their numbers, GPT-2's scale too. */
function isSameLayer({ architecture, config }: Model, one: number, other: number): boolean {
  const blocks = architecture.stacks.decoder?.blocks ?? []
  return blocks.every(({ form }) => isDeepStrictEqual(form(config, one), form(config, other)))
}

/** Ascending numbers as ranges that leave their end out, as mergekit's do. */
function rangesOf(layers: readonly number[]): [start: number, end: number][] {
  const ranges: [number, number][] = []
  for (const layer of layers) {
    const last = ranges.at(-1)
    if (last?.[1] === layer) last[1]++
    else ranges.push([layer, layer + 1])
  }
  return ranges
}

function dtypeOf({ config }: Model): string {
  const dtype = config['dtype'] ?? config['torch_dtype']
  return typeof dtype === 'string' ? dtype : 'float16'
}
