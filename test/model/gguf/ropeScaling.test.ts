import { describe, expect, it } from 'vitest'
import { UnsupportedModelError } from '../../../src/errors.ts'
import type { GgufValue } from '../../../src/format/gguf/ggufValue.ts'
import type { GgufFile } from '../../../src/format/gguf/openGgufFile.ts'
import { llama3Scaling, ropeScalingOf } from '../../../src/model/gguf/ropeScaling.ts'

/** The factors of transformers' `_compute_llama3_parameters`, one for each pair of channels. */
function factorsOf(theta: number, headDim: number, factor: number, low: number, high: number, original: number) {
  return Float32Array.from({ length: headDim / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * theta ** ((2 * i) / headDim)
    if (wavelength < original / high) return 1
    if (wavelength > original / low) return factor
    const smooth = (original / wavelength - low) / (high - low)
    return 1 / ((1 - smooth) / factor + smooth)
  })
}

describe('llama3Scaling', () => {
  it.each([
    [500000, 128, 8, 1, 4, 8192],
    [500000, 64, 32, 1, 4, 8192],
    [500000, 128, 8, 1, 4, 4096],
    [10000, 128, 16, 1, 8, 2048],
    [1000000, 256, 4, 1, 32, 16384],
  ])('finds the settings behind the factors of θ %d, head dimension %d', (theta, dim, factor, low, high, original) => {
    expect(llama3Scaling(factorsOf(theta, dim, factor, low, high, original), theta, dim, undefined, 'a.gguf')).toEqual({
      rope_type: 'llama3',
      factor,
      low_freq_factor: low,
      high_freq_factor: high,
      original_max_position_embeddings: original,
    })
  })

  it('says settings with another low factor in the equivalent way with low = 1', () => {
    expect(llama3Scaling(factorsOf(500000, 128, 32, 2, 4, 8192), 500000, 128, undefined, 'a.gguf')).toMatchObject({
      low_freq_factor: 1,
      high_freq_factor: 2,
      original_max_position_embeddings: 4096,
    })
  })

  it('refuses factors of another scaling, and factors of another head dimension', () => {
    const longrope = Float32Array.from({ length: 64 }, (_, i) => 1 + i ** 1.5 / 40)
    expect(() => llama3Scaling(longrope, 10000, 128, undefined, 'a.gguf')).toThrow(UnsupportedModelError)
    expect(() => llama3Scaling(longrope, 10000, 128, undefined, 'a.gguf')).toThrow(
      /a\.gguf: tensor "rope_freqs\.weight" holds 64 factors from 1 to .*expected 64 of Llama 3/,
    )
    const short = factorsOf(500000, 64, 8, 1, 4, 8192)
    expect(() => llama3Scaling(short, 500000, 128, undefined, 'a.gguf')).toThrow(/holds 32 factors .*expected 64/)
  })
})

describe('scaling in the metadata', () => {
  const scalingOf = (settings: Readonly<Record<string, number | string>>) => {
    const entries = Object.entries(settings).map(([key, value]) => {
      const typed: GgufValue =
        typeof value === 'string'
          ? { type: 'string', value }
          : {
              type: Number.isInteger(value) && key.endsWith('length') ? 'uint32' : 'float32',
              value: Math.fround(value),
            }
      return [`qwen2.rope.${key}`, { value: typed, position: 0, byteLength: 0 }] as const
    })
    const file = { path: 'a.gguf', metadata: new Map(entries), tensors: new Map() } as unknown as GgufFile
    return ropeScalingOf(file, 'qwen2', 10000, 64)
  }
  const yarn = { 'scaling.type': 'yarn', 'scaling.factor': 4, 'scaling.original_context_length': 32768 }

  it('is none, linear in either spelling, or YaRN', async () => {
    expect(await scalingOf({})).toBeNull()
    expect(await scalingOf({ 'scaling.type': 'none' })).toBeNull()
    expect(await scalingOf({ 'scaling.type': 'linear', 'scaling.factor': 2.5 })).toEqual({
      rope_type: 'linear',
      factor: 2.5,
    })
    expect(await scalingOf({ scale_linear: 4 })).toEqual({ rope_type: 'linear', factor: 4 })
    expect(await scalingOf({ ...yarn, 'scaling.yarn_beta_fast': 16 })).toEqual({
      rope_type: 'yarn',
      factor: 4,
      original_max_position_embeddings: 32768,
      beta_fast: 16,
    })
    const { 'scaling.original_context_length': _, ...whole } = yarn
    expect(await scalingOf(whole)).toEqual({ rope_type: 'yarn', factor: 4 })
  })

  it('is refused where config.json could not say it', async () => {
    await expect(scalingOf({ ...yarn, 'scaling.yarn_attn_factor': 1.5 })).rejects.toThrow(
      /"qwen2\.rope\.scaling\.yarn_attn_factor" is 1\.5, expected YaRN's default/,
    )
    await expect(scalingOf({ 'scaling.type': 'linear' })).rejects.toThrow(/"qwen2\.rope\.scaling\.factor" is missing/)
  })
})
