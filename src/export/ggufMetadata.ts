import { basename } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { UnsupportedModelError } from '../errors.ts'
import type { GgufValue } from '../format/gguf/ggufValue.ts'
import { countOf, numberOf, objectOf } from '../model/configValue.ts'
import type { AttentionForm, MlpForm, NormForm, RopeForm } from '../model/mathematics.ts'
import type { Model } from '../model/model.ts'
import { ropeOf, ropeScalingIn } from '../model/rope.ts'

/** The numbers of one layer as llama.cpp reads them. */
export interface GgufLayer {
  readonly heads: number
  readonly kvHeads: number
  readonly channels: number
}

/** `rope.*` of a file: scaling that metadata can say, or a factor for each pair of channels. */
interface RopeMetadata {
  readonly entries: readonly (readonly [string, GgufValue])[]
  /** Contents of `rope_freqs.weight`: what each inverse frequency is divided by; undefined: nothing is. */
  readonly factors: Float32Array<ArrayBuffer> | undefined
}

const uint32 = (value: number): GgufValue => ({ type: 'uint32', value })
const float32 = (value: number): GgufValue => ({ type: 'float32', value })
const string = (value: string): GgufValue => ({ type: 'string', value })

/** `general.file_type` of llama.cpp (llama_ftype), for people and hubs; loaders look at each tensor. */
const fileTypes = { F32: 0, F16: 1, Q4_0: 2, Q8_0: 7, BF16: 32 } as const

/** `general.*` and `<architecture>.*` of a decoder shaped like Llama. Lists where the layers differ, which only deci reads. */
export function decoderMetadata(
  model: Model,
  architecture: string,
  layers: readonly GgufLayer[],
  rope: RopeMetadata,
  fileType: keyof typeof fileTypes | undefined,
): Map<string, GgufValue> {
  const { D, E, V } = model.sizes as { D: number; E: number; V: number }
  const context = countOf(model.config, 'max_position_embeddings', 2048)
  const windows = attentionForms(model).map(({ window }) => window ?? context)
  const each = (count: (layer: GgufLayer) => number): GgufValue => {
    const values = layers.map(count)
    if (architecture === 'deci') return { type: 'array', elementType: 'int32', value: Int32Array.from(values) }
    return uint32(values[0]!)
  }
  const entries: [string, GgufValue][] = [
    ['block_count', uint32(layers.length)],
    // llama.cpp has no sliding window in these architectures; up to its length there is no difference
    ['context_length', uint32(Math.min(context, ...windows))],
    ['embedding_length', uint32(D)],
    ['feed_forward_length', each(({ channels }) => channels)],
    ['attention.head_count', each(({ heads }) => heads)],
    ['attention.head_count_kv', each(({ kvHeads }) => kvHeads)],
    ['attention.key_length', uint32(E)],
    ['attention.value_length', uint32(E)],
    ['attention.layer_norm_rms_epsilon', float32(numberOf(model.config, 'rms_norm_eps', 1e-6))],
    ['vocab_size', uint32(V)],
    ...rope.entries.map(([key, value]): [string, GgufValue] => [key, value]),
  ]
  return new Map<string, GgufValue>([
    ['general.architecture', string(architecture)],
    ['general.type', string('model')],
    ['general.name', string(basename(model.id, '.gguf'))],
    ['general.quantization_version', uint32(2)],
    ...(fileType === undefined ? [] : [['general.file_type', uint32(fileTypes[fileType])] as const]),
    ...entries.map(([key, value]) => [`${architecture}.${key}`, value] as const),
  ])
}

/**
 * Positions as metadata. Frequencies divided by one number are linear scaling, those of YaRN are named as such; others divided by
 * several numbers, as in Llama 3, are factors in a tensor, which the architectures `llama` and `deci` read. Throws
 * `UnsupportedModelError` where the architecture has none of these.
 */
export function ropeMetadata(model: Model, architecture: string): RopeMetadata {
  const E = model.sizes['E']!
  const parameters = objectOf(model.config, 'rope_parameters') ?? {}
  const theta = numberOf(parameters['rope_theta'] === undefined ? model.config : parameters, 'rope_theta', 10000)
  const positions = attentionForms(model)[0]?.positions
  const rope = positions?.type === 'rotary' ? positions.rope : { inverseFrequencies: [] }
  const factors = Float32Array.from(rope.inverseFrequencies, (frequency, i) => theta ** ((-2 * i) / E) / frequency)
  const entries: [string, GgufValue][] = [
    ['rope.dimension_count', uint32(E)],
    ['rope.freq_base', float32(theta)],
  ]
  if (rope.magnitude !== undefined)
    return { entries: [...entries, ...yarnEntries(model, theta, rope)], factors: undefined }
  const first = factors[0] ?? 1
  const isLinear = factors.every((factor) => Math.abs(factor / first - 1) < 1e-6)
  if (isLinear && Math.abs(first - 1) < 1e-6) return { entries, factors: undefined }
  if (isLinear) {
    entries.push(['rope.scaling.type', string('linear')], ['rope.scaling.factor', float32(first)])
    return { entries, factors: undefined }
  }
  if (architecture !== 'llama' && architecture !== 'deci') {
    throw new UnsupportedModelError(
      `${model.id}: its rotary frequencies are scaled one by one, which llama.cpp's "${architecture}" does not read; export to huggingface or onnx`,
    )
  }
  const context = ropeScalingIn(model.config)['original_max_position_embeddings']
  // of a few factors a reader could not tell Llama 3's settings; llama.cpp reads it for YaRN alone
  if (typeof context === 'number') entries.push(['rope.scaling.original_context_length', uint32(context)])
  return { entries, factors }
}

/** YaRN with what llama.cpp can be told of it. Throws `UnsupportedModelError` where the model's is not what that makes. */
function yarnEntries(model: Model, theta: number, rope: RopeForm): [string, GgufValue][] {
  const { config } = model
  const scaling = ropeScalingIn(config)
  const longest = config['max_position_embeddings']
  const context = countOf(scaling, 'original_max_position_embeddings', countOf(config, 'max_position_embeddings', 1))
  const factor = numberOf(scaling, 'factor', Number(longest) / context)
  // llama.cpp has a name for the betas too, and of these architectures does not read it
  const said = { rope_type: 'yarn', rope_theta: theta, factor, original_max_position_embeddings: context }
  if (!isDeepStrictEqual(ropeOf(said, model.sizes['E']!, longest), rope)) {
    throw new UnsupportedModelError(
      `${model.id}: the "beta_fast", "beta_slow", "attention_factor", "mscale" or "truncate" of its rope_parameters is not YaRN's default, and llama.cpp computes with that alone; export to huggingface or onnx`,
    )
  }
  return [
    ['rope.scaling.type', string('yarn')],
    ['rope.scaling.factor', float32(factor)],
    ['rope.scaling.original_context_length', uint32(context)],
  ]
}

/** The GGUF architectures by what each can compute, over and above pre-norm RMS, rotary halves and a gated SiLU mlp. */
const families = {
  llama: { qkvBias: true, oBias: true, mlpBias: true, headNorm: false },
  qwen2: { qkvBias: true, oBias: false, mlpBias: false, headNorm: false },
  qwen3: { qkvBias: false, oBias: false, mlpBias: false, headNorm: true },
} as const

export type GgufFamily = keyof typeof families

const familyOf: Readonly<Record<string, GgufFamily>> = {
  llama: 'llama',
  ministral: 'llama',
  mistral: 'llama',
  qwen2: 'qwen2',
  qwen3: 'qwen3',
}

/**
 * llama.cpp's architecture for `model`. Throws `UnsupportedModelError` for a family that is not described here, or where the model's
 * mathematics is not that architecture's: llama.cpp would load it and compute something else.
 */
export function ggufFamilyOf(model: Model): GgufFamily {
  const type = String(model.config['model_type'])
  const family = Object.hasOwn(familyOf, type) ? familyOf[type] : undefined
  if (family === undefined) {
    throw new UnsupportedModelError(
      `${model.id}: model_type "${type}" has no GGUF export, expected one of ${Object.keys(familyOf).join(', ')}; export to huggingface or onnx`,
    )
  }
  for (const block of model.blocks) {
    const { table } = block
    const form = table.form(model.config, block.layer)
    const odd =
      table.kind === 'attention' ? oddAttention(form as AttentionForm, family) : oddMlp(form as MlpForm, family)
    if (odd !== undefined) throw otherMathematics(model, `${block.id} has ${odd}`, family)
  }
  const embedding = model.architecture.embedding(model.config, 'decoder')
  if (Object.values(embedding).some((part) => part !== undefined)) {
    throw otherMathematics(model, 'the embedding has more than a table', family)
  }
  const head = model.architecture.head(model.config, model.outer)
  if (head === undefined || head.softcap !== undefined || head.bias || head.unitRows || !isPlainRms(head.norm)) {
    throw otherMathematics(model, 'the head has more than a norm and a product', family)
  }
  return family
}

/** What an attention has that llama.cpp's graph has not; undefined: nothing. */
function oddAttention(form: AttentionForm, family: GgufFamily): string | undefined {
  const {
    norm,
    postNorm,
    headNorm,
    positions,
    headDim,
    scale,
    softcap,
    biases,
    inputFirst,
    groupSize,
    window,
    ...rest
  } = form
  const can = families[family]
  if (!isPlainRms(norm)) return 'another norm'
  if (postNorm) return 'a norm behind it'
  if ((headNorm !== undefined) !== can.headNorm) return headNorm ? 'norms on its heads' : 'no norms on its heads'
  if (positions.type !== 'rotary' || positions.rope.inverseFrequencies.length !== headDim / 2) return 'other positions'
  if (positions.rope.long !== undefined || positions.rope.dynamic !== undefined)
    return 'positions that depend on the row'
  if (Math.abs(scale * Math.sqrt(headDim) - 1) > 1e-6) return 'another scale'
  if (softcap !== undefined) return 'capped scores'
  if ((biases.qkv && !can.qkvBias) || (biases.o && !can.oBias)) return 'biases'
  if (inputFirst) return 'matrices stored input first'
  return Object.values(rest).some((value) => value !== undefined) ? Object.keys(rest).join(', ') : undefined
}

function oddMlp(form: MlpForm, family: GgufFamily): string | undefined {
  const { norm, postNorm, gated, activation, biases, parallel, inputFirst, ...rest } = form
  if (!isPlainRms(norm)) return 'another norm'
  if (postNorm) return 'a norm behind it'
  if (!gated || activation !== 'silu') return 'another activation'
  if (biases && !families[family].mlpBias) return 'biases'
  if (parallel) return 'the input of the attention'
  if (inputFirst) return 'matrices stored input first'
  return Object.values(rest).some((value) => value !== undefined) ? Object.keys(rest).join(', ') : undefined
}

const isPlainRms = (norm: NormForm | undefined): boolean => norm?.type === 'rms' && norm.offset === undefined

/** One for each attention of the model; the first alone where it has none left. */
function attentionForms(model: Model): AttentionForm[] {
  const table = model.architecture.stacks.decoder?.blocks.find(({ kind }) => kind === 'attention')
  if (table?.kind !== 'attention') return []
  const layers = model.blocks.filter(({ kind }) => kind === 'attention').map(({ layer }) => layer)
  const forms = (layers.length === 0 ? [0] : layers).map((layer) => table.form(model.config, layer))
  return forms.flatMap((form) => ('sees' in form ? [] : [form]))
}

function otherMathematics(model: Model, what: string, family: GgufFamily): UnsupportedModelError {
  return new UnsupportedModelError(
    `${model.id}: ${what}, which llama.cpp's "${family}" does not compute; export to huggingface or onnx`,
  )
}
