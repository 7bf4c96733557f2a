import { UnsupportedModelError } from '../../errors.ts'
import type { GgufFile } from '../../format/gguf/openGgufFile.ts'
import { optionalInteger, optionalNumber, optionalString, requiredNumber, shortestDecimal } from './fields.ts'

/** `rope_scaling` of config.json; null when positions are not scaled. */
export type RopeScaling = Readonly<Record<string, number | string>> | null

/** Converters compute the factors in float32; recomputed in float64 they were within 2.4e-7 of their value. */
const FACTOR_TOLERANCE = 1e-5

/**
 * Position scaling of a file: `rope.scaling.*` for linear and YaRN, and for Llama 3 the tensor `rope_freqs.weight`, which
 * divides each inverse frequency by a factor. Throws `UnsupportedModelError` for any other scaling.
 */
export async function ropeScalingOf(
  file: GgufFile,
  arch: string,
  theta: number,
  headDim: number,
): Promise<RopeScaling> {
  if (file.tensors.has('rope_freqs.weight')) {
    const factors = await file.readTensor('rope_freqs.weight')
    if (factors.every((factor) => factor === 1)) return metadataScaling(file, arch)
    return llama3Scaling(
      factors,
      theta,
      headDim,
      optionalInteger(file, `${arch}.rope.scaling.original_context_length`),
      file.path,
    )
  }
  return metadataScaling(file, arch)
}

function metadataScaling(file: GgufFile, arch: string): RopeScaling {
  // files older than `rope.scaling.type` have one number
  const legacy = optionalNumber(file, `${arch}.rope.scale_linear`)
  const type = optionalString(file, `${arch}.rope.scaling.type`) ?? (legacy === undefined ? 'none' : 'linear')
  if (type === 'none') return null
  if (type === 'linear') {
    const factor = legacy ?? requiredNumber(file, `${arch}.rope.scaling.factor`)
    return factor === 1 ? null : { rope_type: 'linear', factor }
  }
  if (type === 'yarn') {
    const context = optionalInteger(file, `${arch}.rope.scaling.original_context_length`)
    // llama.cpp reads these two of a few other architectures only, and takes 32 and 1; the model's own are what it was trained with
    const betaFast = optionalNumber(file, `${arch}.rope.scaling.yarn_beta_fast`)
    const betaSlow = optionalNumber(file, `${arch}.rope.scaling.yarn_beta_slow`)
    for (const key of ['yarn_ext_factor', 'yarn_attn_factor', 'attn_factor', 'yarn_log_multiplier']) {
      const value = optionalNumber(file, `${arch}.rope.scaling.${key}`)
      if (value !== undefined && value !== (key === 'yarn_log_multiplier' ? 0 : 1)) {
        throw new UnsupportedModelError(
          `${file.path}: metadata "${arch}.rope.scaling.${key}" is ${value}, expected YaRN's default; use the model's Hugging Face checkpoint`,
        )
      }
    }
    return {
      rope_type: 'yarn',
      factor: requiredNumber(file, `${arch}.rope.scaling.factor`),
      // absent: the whole context, for llama.cpp as for transformers
      ...(context === undefined ? {} : { original_max_position_embeddings: context }),
      ...(betaFast === undefined ? {} : { beta_fast: betaFast }),
      ...(betaSlow === undefined ? {} : { beta_slow: betaSlow }),
    }
  }
  throw new UnsupportedModelError(
    `${file.path}: metadata "${arch}.rope.scaling.type" is "${type}", expected "none", "linear" or "yarn"; use the model's Hugging Face checkpoint`,
  )
}

/**
 * The settings of Llama 3's scaling from its factors f, one for each pair of channels of wavelength w:
 * f = 1 where w < original / high, F where w > original / low, else 1 / ((1 - s) / F + s) with
 * s = (original / w - low) / (high - low).
 *
 * Only F, original / high and original / low can be told from f. Meta's own (low 1, high 4, original 8192) are tried first;
 * otherwise low = 1, and the line 1 / f = a + b / w through the factors between gives high and original. Whatever is found
 * must reproduce every factor.
 */
export function llama3Scaling(
  factors: Float32Array,
  theta: number,
  headDim: number,
  original: number | undefined,
  path: string,
): RopeScaling {
  // as many as there are factors, whatever head dimension the metadata claims
  const wavelengths = Array.from(factors, (_, i) => 2 * Math.PI * theta ** ((2 * i) / headDim))
  const factor = shortestDecimal(factors.reduce((a, b) => Math.max(a, b), 1))
  const candidates: Llama3[] = [{ factor, low: 1, high: 4, original: 8192 }]
  if (original !== undefined) candidates.push({ factor, low: 1, high: 4, original })
  const fitted = fitLlama3(factors, wavelengths, factor)
  if (fitted) candidates.push(fitted)
  const found = candidates.find(
    (candidate) =>
      factors.length === headDim / 2 &&
      wavelengths.every((w, i) => Math.abs(llama3Factor(candidate, w) / factors[i]! - 1) < FACTOR_TOLERANCE),
  )
  if (!found) {
    throw new UnsupportedModelError(
      `${path}: tensor "rope_freqs.weight" holds ${factors.length} factors from ${factors[0]} to ${factors.at(-1)}, expected ${headDim / 2} of Llama 3's scaling; use the model's Hugging Face checkpoint`,
    )
  }
  return {
    rope_type: 'llama3',
    factor,
    low_freq_factor: found.low,
    high_freq_factor: found.high,
    original_max_position_embeddings: found.original,
  }
}

interface Llama3 {
  readonly factor: number
  readonly low: number
  readonly high: number
  readonly original: number
}

function llama3Factor({ factor, low, high, original }: Llama3, wavelength: number): number {
  if (wavelength < original / high) return 1
  if (wavelength > original / low) return factor
  const s = (original / wavelength - low) / (high - low)
  return 1 / ((1 - s) / factor + s)
}

/** Least squares through 1 / f = a + b / w, b = (1 - 1/F) · original / (high - low), a = 1/F - (1 - 1/F) · low / (high - low). */
function fitLlama3(factors: Float32Array, wavelengths: readonly number[], factor: number): Llama3 | undefined {
  const between = wavelengths.flatMap((w, i) =>
    factors[i]! > 1 && factors[i]! < Math.fround(factor) ? [[1 / w, 1 / factors[i]!] as const] : [],
  )
  if (between.length < 2) return undefined
  const meanX = between.reduce((sum, [x]) => sum + x, 0) / between.length
  const meanY = between.reduce((sum, [, y]) => sum + y, 0) / between.length
  const b =
    between.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0) /
    between.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0)
  const a = meanY - b * meanX
  const range = (1 - 1 / factor) / (1 / factor - a)
  const original = (b * range) / (1 - 1 / factor)
  // settings are round numbers, the factors are not: 0.01 and 1 are far below what any setting was ever given to
  return { factor, low: 1, high: Math.round((1 + range) * 100) / 100, original: Math.round(original) }
}
