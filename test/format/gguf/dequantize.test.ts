import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { CheckpointError } from '../../../src/errors.ts'
import { dequantize } from '../../../src/format/gguf/dequantize.ts'
import { ggmlTypeNames } from '../../../src/format/gguf/ggmlType.ts'
import { openGgufFile } from '../../../src/format/gguf/openGgufFile.ts'
import { writeScratch } from './rawGguf.ts'

const fixtures = fileURLToPath(new URL('../../fixtures/gguf', import.meta.url))

/** Bits, because NaN is not equal to itself and -0 is equal to 0. */
const bits = (values: Float32Array) => new Uint32Array(values.buffer, values.byteOffset, values.length)

it('widens every type bit for bit as gguf-py does', async () => {
  const file = await openGgufFile(`${fixtures}/quants.gguf`)
  const expected = new Float32Array(new Uint8Array(await readFile(`${fixtures}/quants.expected.bin`)).buffer)
  let at = 0
  for (const tensor of file.tensors.values()) {
    const values = await file.readTensor(tensor.name)
    expect(bits(values), tensor.name).toEqual(bits(expected.subarray(at, at + values.length)))
    at += values.length
  }
  await file.close()
  expect([...file.tensors.keys()].sort()).toEqual([...ggmlTypeNames].sort())
  expect(at).toBe(expected.length)
})

it('unpacks a block of Q4_0 by hand', () => {
  const block = new Uint8Array(18)
  block.set([0x00, 0xc0]) // d = -2
  block[2] = 0x1f // value 0 is 15, value 16 is 1
  const out = new Float32Array(32)
  dequantize('Q4_0', block, out)
  expect(out[0]).toBe(-14)
  expect(out[16]).toBe(14)
  expect(out[1]).toBe(16)
})

it('keeps the bits of a NaN in float32 tensors', () => {
  const out = new Float32Array(1)
  dequantize('F32', Uint8Array.from([1, 2, 0xc3, 0x7f]), out)
  expect(bits(out)[0]).toBe(0x7fc30201)
})

it('refuses bytes that do not fill the values', () => {
  expect(() => dequantize('Q8_0', new Uint8Array(33), new Float32Array(32))).toThrow(RangeError)
  expect(() => dequantize('Q8_0', new Uint8Array(34), new Float32Array(31))).toThrow(RangeError)
})

it('unpacks a tensor larger than a chunk as it unpacks a small one', async () => {
  // 2^19 blocks of Q8_0 are 17 MiB, more than is read at a time; every block holds its number
  const blocks = 2 ** 19 + 3
  const { RawGguf } = await import('./rawGguf.ts')
  const header = new RawGguf().start(1, 0).tensor('t', [32, blocks], 8, 0).data(0).bytes
  const file = new Uint8Array(header.length + blocks * 34)
  file.set(header)
  for (let i = 0; i < blocks; i++) {
    const at = header.length + i * 34
    file[at + 1] = 0x3c // d = 1
    file[at + 2] = i & 127
    file[at + 33] = (i >> 7) & 127
  }
  const opened = await openGgufFile(await writeScratch(file))
  const values = await opened.readTensor('t')
  for (let i = 0; i < blocks; i++) {
    if (values[i * 32] !== (i & 127) || values[i * 32 + 31] !== ((i >> 7) & 127)) expect.fail(`block ${i} differs`)
  }
  expect((await opened.readTensorBytes('t')).length).toBe(blocks * 34)
  await expect(opened.readTensor('u')).rejects.toThrow(CheckpointError)
  await opened.close()
})
