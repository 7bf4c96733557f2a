import { readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { ToolkitError } from '../../../src/errors.ts'
import { openGgufFile } from '../../../src/format/gguf/openGgufFile.ts'
import { openGguf } from '../../../src/model/gguf/open.ts'
import { buildTokenizer, tokenizerConfig } from '../../../src/model/gguf/tokenizer/tokenizerJson.ts'
import { writeScratch } from './rawGguf.ts'

const fixtures = fileURLToPath(new URL('../../fixtures/gguf', import.meta.url))

/** Deterministic, for a failure to come again: mulberry32. */
function randomIntegers(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) % below
  }
}

/** Values that lengths, counts and offsets are tried with. */
const extremes = [0n, 1n, 0x7fffffffn, 0xffffffffn, 2n ** 32n, 2n ** 53n, 2n ** 60n, 2n ** 63n, 2n ** 64n - 1n, 65536n]

function mutate(original: Uint8Array, headerBytes: number, random: (below: number) => number): Uint8Array {
  let bytes = Uint8Array.from(original)
  for (let edits = 1 + random(4); edits > 0; edits--) {
    const at = random(Math.min(headerBytes, Math.max(1, bytes.length - 8)))
    const view = new DataView(bytes.buffer)
    switch (random(6)) {
      case 0: // any byte
        bytes[at] = random(256)
        break
      case 1: // a bit
        bytes[at]! ^= 1 << random(8)
        break
      case 2: // a count or an offset
        if (at + 8 <= bytes.length) view.setBigUint64(at, extremes[random(extremes.length)]!, true)
        break
      case 3: // a type or a number
        if (at + 4 <= bytes.length) view.setUint32(at, random(3) === 0 ? random(2 ** 32) : random(32), true)
        break
      case 4: // an end that came early
        bytes = bytes.slice(0, random(bytes.length))
        break
      default: {
        // a piece of the header in another place
        const from = random(headerBytes)
        bytes.copyWithin(at, from, from + random(64))
      }
    }
  }
  return bytes
}

it.each([
  ['llama', 1],
  ['gemma3', 2],
  ['gpt2', 3],
])('answers a damaged %s with an error of ours or a model, never with a crash', async (name, seed) => {
  const original = new Uint8Array(await readFile(`${fixtures}/${name}.gguf`))
  const path = await writeScratch(original)
  const random = randomIntegers(seed)
  const headerBytes = Math.min(original.length, 9000)
  let opened = 0
  let refused = 0
  for (let i = 0; i < 700; i++) {
    await writeFile(path, mutate(original, headerBytes, random))
    try {
      const model = await openGguf(path)
      try {
        for (const build of model.assets.values()) await build()
        for (const tensor of model.weights.tensors.keys()) await model.weights.read(tensor)
      } finally {
        await model.weights.close()
      }
      opened++
    } catch (error) {
      if (!(error instanceof ToolkitError)) throw error
      if (error.message.includes('\n') || error.message.length > 3000) expect.fail(error.message)
      refused++
    }
  }
  expect(refused).toBeGreaterThan(100)
  expect(opened).toBeGreaterThan(20)
  expect(opened + refused).toBe(700)
})

it.each([
  ['bpe', 4],
  ['spm', 5],
  ['wordpiece', 6],
])('answers a damaged vocabulary of %s with an error of ours or a tokenizer', async (name, seed) => {
  const original = new Uint8Array(await readFile(`${fixtures}/${name}.gguf`))
  const path = await writeScratch(original)
  const random = randomIntegers(seed)
  let built = 0
  let refused = 0
  for (let i = 0; i < 300; i++) {
    await writeFile(path, mutate(original, original.length, random))
    try {
      const file = await openGgufFile(path)
      try {
        const tokenizer = buildTokenizer(file)
        JSON.stringify([tokenizer.json, tokenizerConfig(file, tokenizer)])
      } finally {
        await file.close()
      }
      built++
    } catch (error) {
      if (!(error instanceof ToolkitError)) throw error
      if (error.message.includes('\n') || error.message.length > 3000) expect.fail(error.message)
      refused++
    }
  }
  expect(refused).toBeGreaterThan(100)
  expect(built + refused).toBe(300)
})
