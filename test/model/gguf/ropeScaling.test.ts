import { describe, expect, it } from 'vitest'
import { UnsupportedModelError } from '../../../src/errors.ts'
import { llama3Scaling } from '../../../src/model/gguf/ropeScaling.ts'

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
