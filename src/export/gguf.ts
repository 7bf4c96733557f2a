import { PlanError, UnsupportedModelError } from '../errors.ts'
import type { GgufValue } from '../format/gguf/ggufValue.ts'
import { type GgufTensorSource, type WriteGgufOptions, writeGguf } from '../format/gguf/writeGguf.ts'
import type { EncodableType } from '../format/gguf/writeQuantized.ts'
import { applyPlan } from '../model/applyPlan.ts'
import { keptRuns, keptUnits } from '../model/axes.ts'
import { type GgufModel, openGguf } from '../model/gguf/open.ts'
import type { Model } from '../model/model.ts'
import { outputBiasesOf, outputRoles, withOutputBias } from '../model/outputBias.ts'
import { blockSizes, emptyPlan, unitOf } from '../model/plan.ts'
import type { Block, BlockKind, PruningPlan } from '../types.ts'
import { decoderMetadata, type GgufFamily, type GgufLayer, ggufFamilyOf, ropeMetadata } from './ggufMetadata.ts'
import { constantTensor, ggufTensors, type HeadOrder, type TensorRequest, vectorTensor } from './ggufTensors.ts'
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

/** Width of the mlp that adds nothing: llama.cpp skips the attention too where a layer has none. One block of Q8_0. */
const stubChannels = 32

/** Rotary embedding turns neighbours in llama.cpp's Llama and deci, and halves of a head in Qwen's. */
const headOrders: Readonly<Record<GgufFamily | 'deci', HeadOrder>> = {
  llama: 'pairs',
  deci: 'pairs',
  qwen2: 'halves',
  qwen3: 'halves',
}

/** llama.cpp's names (gguf-py, constants.py) by our roles, `blk.N.` left out. */
const outerNames: Readonly<Record<string, string>> = {
  embedTokens: 'token_embd.weight',
  finalNorm: 'output_norm.weight',
  lmHead: 'output.weight',
}

const blockNames: Readonly<Partial<Record<BlockKind, Readonly<Record<string, string>>>>> = {
  attention: {
    norm: 'attn_norm.weight',
    qProj: 'attn_q.weight',
    qBias: 'attn_q.bias',
    qNorm: 'attn_q_norm.weight',
    kProj: 'attn_k.weight',
    kBias: 'attn_k.bias',
    kNorm: 'attn_k_norm.weight',
    vProj: 'attn_v.weight',
    vBias: 'attn_v.bias',
    oProj: 'attn_output.weight',
    oBias: 'attn_output.bias',
  },
  mlp: {
    norm: 'ffn_norm.weight',
    gateProj: 'ffn_gate.weight',
    gateBias: 'ffn_gate.bias',
    upProj: 'ffn_up.weight',
    upBias: 'ffn_up.bias',
    downProj: 'ffn_down.weight',
    downBias: 'ffn_down.bias',
  },
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
  const opened = model.path.endsWith('.gguf') ? await openGguf(model.path) : undefined
  try {
    const { architecture, layers, stubs } = described
    const tensors = tensorsOf(model, plan, described, opened, options.type)
    const rope = ropeMetadata(model, architecture)
    if (rope.factors !== undefined) tensors.splice(tensors.length, 0, factorsTensor(rope.factors))
    const metadata = new Map<string, GgufValue>([
      ...carriedMetadata(opened),
      ...decoderMetadata(model, architecture, layers, rope, options.type),
      ...(opened === undefined ? await ggufTokenizer(model) : []),
    ])
    const sizeBytes = await writeGguf(file, metadata, tensors, options)
    const types: Record<string, number> = {}
    for (const { type } of tensors) types[type] = (types[type] ?? 0) + 1
    return { architecture, layers: layers.length, stubs, sizeBytes, types }
  } finally {
    await opened?.file.close()
  }
}

interface DescribedGguf {
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

function tensorsOf(
  model: Model,
  plan: PruningPlan,
  { architecture, places, stubs }: DescribedGguf,
  opened: GgufModel | undefined,
  type: GgufExportType | undefined,
): GgufTensorSource[] {
  const order = headOrders[architecture]
  const { D, E } = model.sizes as { D: number; E: number }
  const source = ggufTensors(model, opened)
  const { weights: pruned } = applyPlan(model, plan)
  const tensors: GgufTensorSource[] = []

  const headName = model.outer['lmHead']?.[0] ?? model.outer['embedTokens']?.[0]
  for (const [role, [from]] of Object.entries(model.outer)) {
    const isHead = from === headName
    const asked = type === 'Q4_0' && isHead ? 'Q8_0' : type
    tensors.push(source({ name: nameOf(outerNames, role), from, headDim: E, type: asked }))
  }
  for (const [layer, place] of places.entries()) {
    for (const [kind, old] of Object.entries(place) as [BlockKind, number][]) {
      const block = blockAt(model, kind, old)
      const bias = plan.outputBiases?.[block.id] === undefined ? undefined : outputRoles[kind].bias
      const table = bias === undefined ? block.weights : withOutputBias(kind, block.weights)
      for (const [role, [from]] of Object.entries(table)) {
        const name = `blk.${layer}.${nameOf(blockNames[kind], role)}`
        if (role === bias) {
          tensors.push(vectorTensor(name, D, () => pruned.read(from)))
          continue
        }
        const isTurned = /^[qk](Proj|Bias)$/.test(role)
        tensors.push(
          source({
            name,
            from,
            headDim: E,
            type,
            order: isTurned ? order : undefined,
            ...cutOf(model, plan, block, role),
          }),
        )
      }
    }
    for (const { kind } of stubs.filter((stub) => stub.layer === layer)) {
      const stub = (name: string, shape: readonly number[], value: 0 | 1) =>
        tensors.push(constantTensor(`blk.${layer}.${name}.weight`, shape, value))
      if (kind === 'attention') {
        stub('attn_norm', [D], 1)
        for (const name of ['attn_q', 'attn_k', 'attn_v']) stub(name, [E, D], 0)
        stub('attn_output', [D, E], 0)
      } else {
        stub('ffn_norm', [D], 1)
        for (const name of ['ffn_gate', 'ffn_up']) stub(name, [stubChannels, D], 0)
        stub('ffn_down', [D, stubChannels], 0)
      }
    }
  }
  return tensors
}

function blockAt(model: Model, kind: BlockKind, layer: number): Block {
  const found = model.blocks.find((block) => block.kind === kind && block.layer === layer)
  if (found === undefined) throw new RangeError(`decoder.${layer}.${kind}: no such block in ${model.id}`)
  return found
}

function cutOf(model: Model, plan: PruningPlan, block: Block, role: string): Pick<TensorRequest, 'runs'> {
  const removed = plan.units[block.id] ?? []
  const unit = unitOf(model, block)
  const axes = block.weights[role]![1]
  if (removed.length === 0 || !axes.includes(unit)) return {}
  return { runs: keptRuns(axes, blockSizes(model, block), unit, keptUnits(block.units, removed)) }
}

function nameOf(names: Readonly<Record<string, string>> | undefined, role: string): string {
  const name = names?.[role]
  if (name === undefined) throw new RangeError(`the weight "${role}" has no name in GGUF`)
  return name
}

function factorsTensor(factors: Float32Array<ArrayBuffer>): GgufTensorSource {
  const data = () => [new Uint8Array(factors.buffer)]
  return { name: 'rope_freqs.weight', type: 'F32', shape: [factors.length], data }
}

/** What a GGUF model says about itself and its tokenizer; sizes, types and alignment are written anew. */
function carriedMetadata(opened: GgufModel | undefined): [string, GgufValue][] {
  const rewritten = /^general\.(alignment|file_type|size_label|parameter_count|quantization_version)$/
  return [...(opened?.file.metadata ?? [])]
    .filter(([key]) => (key.startsWith('general.') && !rewritten.test(key)) || key.startsWith('tokenizer.'))
    .map(([key, { value }]) => [key, value])
}
