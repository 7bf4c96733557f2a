import type { Device, Handle, HostValues } from '../device/device.ts'
import type { Environment } from '../graph/graph.ts'
import type { ElementType } from '../graph/operations.ts'
import { distanceBuckets, rotaryTable, sinusoidTable } from '../graph/positionTables.ts'

/** The tensors of a graph that depend on the number of rows B and tokens T alone, made once per shape. */
export function environmentCache(device: Device): (of: Environment, rows: number, tokens: number) => Handle {
  const handles = new Map<string, Handle>()
  return (of, rows, tokens) => {
    const key = JSON.stringify([of, rows, tokens])
    const handle = handles.get(key) ?? device.upload(...makers[of.type](of as never, rows, tokens))
    handles.set(key, handle)
    return handle
  }
}

/** What is uploaded: type, values, dims. */
type Made = readonly [ElementType, HostValues, readonly number[]]

type Makers = {
  [Type in Environment['type']]: (
    of: Extract<Environment, { type: Type | Environment['type'] }>,
    rows: number,
    tokens: number,
  ) => Made
}

const makers: Makers = {
  rotaryCos: (of, _, tokens) => rotaryTensor(of, tokens, Math.cos),
  rotarySin: (of, _, tokens) => rotaryTensor(of, tokens, Math.sin),
  lastPosition: (_, rows, tokens) => ['int32', new Int32Array(rows).fill(tokens - 1), [rows]],
  length: (_, __, tokens) => ['int32', Int32Array.of(tokens), []],
  keyPositions: (_, __, tokens) => ['float32', Float32Array.from({ length: tokens }, (_, t) => t), [tokens]],
  positionIndex: (of, _, tokens) => {
    const offset = of.type === 'positionIndex' ? of.offset : 0
    return ['int64', BigInt64Array.from({ length: tokens }, (_, t) => BigInt(t + offset)), [tokens]]
  },
  sinusoids(of, _, tokens) {
    if (of.type !== 'sinusoids') throw new RangeError(`${of.type} has no width`)
    return ['float32', sinusoidTable(of.width, tokens), [tokens, of.width]]
  },
  distanceBuckets(of, _, tokens) {
    if (of.type !== 'distanceBuckets') throw new RangeError(`${of.type} has no buckets`)
    return ['int64', distanceBuckets(of, tokens), [1, tokens, tokens]]
  },
  causalMask: (of, _, tokens) => {
    const window = of.type === 'causalMask' ? (of.window ?? tokens) : tokens
    const mask = new Float32Array(tokens * tokens)
    for (let q = 0; q < tokens; q++) {
      for (let k = 0; k < tokens; k++) mask[q * tokens + k] = k <= q && q - k < window ? 0 : -1e30
    }
    return ['float32', mask, [tokens, tokens]]
  },
}

function rotaryTensor(of: Environment, tokens: number, wave: (angle: number) => number): Made {
  if (of.type !== 'rotaryCos' && of.type !== 'rotarySin') throw new RangeError(`${of.type} has no frequencies`)
  return ['float32', rotaryTable(of.rope, tokens, wave), [tokens, of.rope.inverseFrequencies.length]]
}
