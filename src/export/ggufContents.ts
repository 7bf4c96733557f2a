import type { GgufTensorSource } from '../format/gguf/writeGguf.ts'
import { applyPlan } from '../model/applyPlan.ts'
import { keptRuns, keptUnits } from '../model/axes.ts'
import type { GgufModel } from '../model/gguf/open.ts'
import type { DescribedBlock, Model } from '../model/model.ts'
import { outputRoles, withOutputBias } from '../model/outputBias.ts'
import { blockSizes } from '../model/plan.ts'
import type { BlockKind, PruningPlan } from '../types.ts'
import type { DescribedGguf, GgufExportType } from './gguf.ts'
import { type GgufFamily, ropeMetadata } from './ggufMetadata.ts'
import { constantTensor, ggufTensors, type HeadOrder, type TensorRequest, vectorTensor } from './ggufTensors.ts'

/** Width of the mlp that adds nothing: llama.cpp skips the attention too where a layer has none. One block of Q8_0. */
export const stubChannels = 32

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
 * Every tensor of the file for `plan`, its bytes not yet made: of `type`, or as stored. `opened`: the dense model where it is a GGUF
 * file itself.
 */
export function ggufContents(
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
  const { factors } = ropeMetadata(model, architecture)
  return factors === undefined ? tensors : [...tensors, factorsTensor(factors)]
}

function blockAt(model: Model, kind: BlockKind, layer: number): DescribedBlock {
  const found = model.blocks.find((block) => block.kind === kind && block.layer === layer)
  if (found === undefined) throw new RangeError(`decoder.${layer}.${kind}: no such block in ${model.id}`)
  return found
}

function cutOf(model: Model, plan: PruningPlan, block: DescribedBlock, role: string): Pick<TensorRequest, 'runs'> {
  const removed = plan.units[block.id] ?? []
  const unit = block.table.unit
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
