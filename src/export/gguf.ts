import { PlanError, UnsupportedModelError } from '../errors.ts'
import { refuseExisting } from '../format/atomicFile.ts'
import type { GgufValue } from '../format/gguf/ggufValue.ts'
import { type WriteGgufOptions, writeGguf } from '../format/gguf/writeGguf.ts'
import type { EncodableType } from '../format/gguf/writeQuantized.ts'
import { applyPlan } from '../model/applyPlan.ts'
import { type GgufModel, isGgufPath, openGguf } from '../model/gguf/open.ts'
import type { Model } from '../model/model.ts'
import { outputBiasesOf } from '../model/outputBias.ts'
import { emptyPlan } from '../model/plan.ts'
import type { BlockKind, PruningPlan } from '../types.ts'
import { exportRecord, recordMetadata } from './exportRecord.ts'
import { ggufContents, stubChannels } from './ggufContents.ts'
import { decoderMetadata, type GgufFamily, type GgufLayer, ggufFamilyOf, ropeMetadata } from './ggufMetadata.ts'
import { ggufTokenizer } from './ggufTokenizer.ts'
import { layoutOf, type NewLayer } from './layout.ts'
import { uniformWidths, widthsOf } from './widths.ts'

/** Types a GGUF export can be asked for; norms, biases and other vectors are F32 in each. */
export type GgufExportType = EncodableType

export interface GgufExportOptions extends WriteGgufOptions {
  /**
   * Type of the matrices. Absent: as they are stored, and tensors of a GGUF model that the plan leaves whole are copied
   * byte for byte. With Q4_0 the output matrix, or the embedding that serves as one, is Q8_0.
   */
  readonly type?: GgufExportType | undefined
  /** Replace a file that is there; without it such a file is refused. */
  readonly replace?: boolean | undefined
}

export interface GgufExport {
  /** `general.architecture`: the family's own, or `deci` where layers differ. */
  readonly architecture: GgufFamily | 'deci'
  readonly layers: number
  /** Zero blocks that stand for removed ones, because llama.cpp needs something there. */
  readonly stubs: readonly { readonly layer: number; readonly kind: BlockKind }[]
  readonly sizeBytes: number
  /** Tensors of each type. */
  readonly types: Readonly<Record<string, number>>
}

/**
 * Writes `model` without what `plan` leaves out as a GGUF file for llama.cpp. Whole or repacked layers of one width are
 * written in the architecture of the family; any other plan as `deci` (DeciLM, Llama with layers of their own), in the form
 * that llama.cpp was seen to load and compute right:
 *
 * - no attention: zero heads and no tensors, but in layer 0, where llama.cpp aborts, one head whose output is zero;
 * - no mlp: 32 channels whose output is zero, since without any llama.cpp leaves out the attention as well;
 * - neither: the layer is gone and those behind it are renumbered.
 *
 * One tensor is in memory at a time; the file appears whole or not at all. Throws `PlanError` for a plan that leaves no
 * block, `UnsupportedModelError` where llama.cpp would not compute what the plan says, `OutputError` where the file cannot
 * be written.
 */
export async function exportGguf(
  model: Model,
  plan: PruningPlan,
  file: string,
  options: GgufExportOptions = {},
): Promise<GgufExport> {
  const described = describeGguf(model, plan)
  if (options.replace !== true) await refuseExisting(file)
  const opened = isGgufPath(model.path) ? await openGguf(model.path) : undefined
  try {
    const { architecture, layers, stubs } = described
    const tensors = ggufContents(model, plan, described, opened, options.type)
    const rope = ropeMetadata(model, architecture)
    const metadata = new Map<string, GgufValue>([
      ...carriedMetadata(opened),
      ...decoderMetadata(model, architecture, layers, rope, options.type),
      ...(opened === undefined ? await ggufTokenizer(model) : []),
      ...recordMetadata(await exportRecord(model, plan)),
    ])
    const sizeBytes = await writeGguf(file, metadata, tensors, options)
    const types: Record<string, number> = {}
    for (const { type } of tensors) types[type] = (types[type] ?? 0) + 1
    return { architecture, layers: layers.length, stubs, sizeBytes, types }
  } finally {
    await opened?.file.close()
  }
}

export interface DescribedGguf {
  readonly family: GgufFamily
  readonly architecture: GgufFamily | 'deci'
  /** Old layers of the blocks of each new one. */
  readonly places: readonly NewLayer[]
  readonly layers: readonly GgufLayer[]
  readonly stubs: GgufExport['stubs']
}

/** What a plan becomes in GGUF; reads no weights. Throws as `exportGguf` does. */
export function describeGguf(model: Model, plan: PruningPlan): DescribedGguf {
  const family = ggufFamilyOf(model)
  const pruned = applyPlan(model, plan)
  const { form, stacks } = layoutOf(pruned, emptyPlan)
  const places = stacks.decoder ?? []
  if (places.length === 0) {
    throw new PlanError(
      `plan: leaves no block of ${model.id}, expected at least one, as llama.cpp loads no model without layers`,
    )
  }
  const units = new Map(pruned.blocks.map((block) => [block.id, block.units]))
  // of the families' own loaders only llama's takes a bias of an output that the family does not have; deci's does
  const biasesFit = family === 'llama' || outputBiasesOf(plan).length === 0
  const isStock = form !== 'custom' && uniformWidths(pruned, widthsOf(pruned, emptyPlan)).isUniform && biasesFit
  if (!isStock && family === 'qwen3') {
    throw new UnsupportedModelError(
      `${model.id}: the blocks left fit no stock layer of one width, and llama.cpp's "deci" has no norms on heads; remove whole layers, or export to huggingface or onnx`,
    )
  }
  const G = model.sizes['G']!
  const stubs: { layer: number; kind: BlockKind }[] = []
  const layers = places.map((place, layer): GgufLayer => {
    const kvHeads = place.attention === undefined ? 0 : (units.get(`decoder.${place.attention}.attention`) ?? 0)
    const channels = place.mlp === undefined ? 0 : (units.get(`decoder.${place.mlp}.mlp`) ?? 0)
    if (kvHeads === 0 && layer === 0) stubs.push({ layer, kind: 'attention' })
    if (channels === 0) stubs.push({ layer, kind: 'mlp' })
    return {
      heads: kvHeads === 0 ? (layer === 0 ? 1 : 0) : kvHeads * G,
      kvHeads: kvHeads === 0 && layer === 0 ? 1 : kvHeads,
      channels: channels === 0 ? stubChannels : channels,
    }
  })
  return { family, architecture: isStock ? family : 'deci', places, layers, stubs }
}

/** Throws, as `exportGguf` does, where the tokenizer has no form in GGUF; that of a GGUF model is carried along as it is. */
export async function checkGgufTokenizer(model: Model): Promise<void> {
  if (!isGgufPath(model.path)) await ggufTokenizer(model)
}

/** What a GGUF model says about itself and its tokenizer; sizes, types and alignment are written anew. */
function carriedMetadata(opened: GgufModel | undefined): [string, GgufValue][] {
  const rewritten = /^general\.(alignment|file_type|size_label|parameter_count|quantization_version)$/
  return [...(opened?.file.metadata ?? [])]
    .filter(([key]) => (key.startsWith('general.') && !rewritten.test(key)) || key.startsWith('tokenizer.'))
    .map(([key, { value }]) => [key, value])
}
