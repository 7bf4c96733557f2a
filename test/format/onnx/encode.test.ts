import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { encodeOnnx } from '../../../src/format/onnx/encode.ts'

test('writes, byte for byte, the model that the onnx package serialises', async () => {
  const bytes = encodeOnnx({
    name: 'golden',
    opsets: { '': 21, 'com.microsoft': 1 },
    nodes: [
      {
        type: 'FusedMatMul',
        domain: 'com.microsoft',
        inputs: ['x', 'w'],
        outputs: ['y'],
        attributes: { transB: { int: 1 } },
      },
      { type: 'Clip', inputs: ['y', '', 'most'], outputs: ['z'] },
      { type: 'Gelu', inputs: ['z'], outputs: ['g'], attributes: { approximate: { string: 'tanh' } } },
      { type: 'LeakyRelu', inputs: ['g'], outputs: ['l'], attributes: { alpha: { float: 0.25 } } },
      { type: 'Transpose', inputs: ['l'], outputs: ['t'], attributes: { perm: { ints: [1, 0] } } },
    ],
    initializers: [
      { name: 'w', type: 'float16', dims: [3, 4], data: { file: 'golden.onnx_data', offset: 64, length: 24 } },
      { name: 'shape', type: 'int64', dims: [2], data: new Uint8Array(BigInt64Array.of(0n, -1n).buffer) },
    ],
    inputs: [
      { name: 'x', type: 'float16', dims: ['batch', 4] },
      { name: 'most', type: 'float16', dims: [] },
    ],
    outputs: [{ name: 't', type: 'float16', dims: [3, 'batch'] }],
  })
  const golden = await readFile(join(import.meta.dirname, '../../fixtures/written/golden.onnx'))
  expect(Buffer.from(bytes).toString('hex')).toBe(golden.toString('hex'))
})
