import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { CheckpointError } from '../../../src/errors.ts'
import { openSafetensors } from '../../../src/format/safetensors/read.ts'
import { scratchFolder } from './rawFile.ts'

const fixtures = fileURLToPath(new URL('../../fixtures/safetensors', import.meta.url))

/** Numbers, brackets and names that a mutated header tries in place of others. */
const splinters =
  '0 -1 9007199254740993 18446744073709551616 1e999 null true {} [] [[ ]] }} "F64" "F4" "" : , \\u0000'.split(' ')

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

function mutate(original: Uint8Array, random: (below: number) => number): Uint8Array {
  const headerBytes = Number(new DataView(original.buffer, original.byteOffset).getBigUint64(0, true))
  let bytes = Uint8Array.from(original)
  for (let edits = 1 + random(3); edits > 0; edits--) {
    switch (random(5)) {
      case 0: // any byte of length or header
        bytes[random(Math.min(8 + headerBytes, bytes.length))] = random(256)
        break
      case 1: // an end that came early
        bytes = bytes.slice(0, 8 + random(Math.max(1, bytes.length - 8)))
        break
      case 2: // a digit
      case 3: {
        const digits = [...bytes.keys()].filter(
          (i) => i >= 8 && i < 8 + headerBytes && bytes[i]! >= 48 && bytes[i]! <= 57,
        )
        const at = digits[random(Math.max(1, digits.length))]
        if (at !== undefined) bytes[at] = 48 + random(10)
        break
      }
      case 4: {
        // a splinter over whatever stands there
        const at = 8 + random(headerBytes)
        const splinter = new TextEncoder().encode(splinters[random(splinters.length)])
        if (at + splinter.length <= bytes.length) bytes.set(splinter, at)
        break
      }
    }
  }
  return bytes
}

it('opens or refuses 3000 mutated files, one line each, and never reads beyond the file', async () => {
  const random = randomIntegers(20240610)
  const path = join(await scratchFolder(), 'model.safetensors')
  const originals = await Promise.all(
    ['types.safetensors', 'sharded/model-00002-of-00003.safetensors'].map((name) => readFile(join(fixtures, name))),
  )
  const outcomes = { opened: 0, refused: 0 }
  const messages = new Set<string>()
  const heapBefore = process.memoryUsage().arrayBuffers
  for (let round = 0; round < 3000; round++) {
    const bytes = mutate(originals[round % originals.length]!, random)
    await writeFile(path, bytes)
    try {
      const store = await openSafetensors(path)
      let total = 0
      for (const name of store.tensors.keys()) total += (await store.readBytes(name)).length
      expect(total).toBeLessThanOrEqual(bytes.length)
      await store.close()
      outcomes.opened++
    } catch (error) {
      if (!(error instanceof CheckpointError))
        throw new Error(`round ${round} let an error of another kind out`, { cause: error })
      expect(error.message).not.toMatch(/[\n\r]/)
      messages.add(error.message.replace(/"[^"]*"|\d+/g, '_'))
      outcomes.refused++
    }
  }
  // a fuzz test that only ever meets one check has tested nothing
  expect(outcomes.opened).toBeGreaterThan(50)
  expect(outcomes.refused).toBeGreaterThan(1500)
  expect(messages.size).toBeGreaterThan(15)
  expect(process.memoryUsage().arrayBuffers - heapBefore).toBeLessThan(200_000_000)
}, 30_000)
