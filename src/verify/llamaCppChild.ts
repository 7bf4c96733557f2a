import { writeFileSync } from 'node:fs'
import { readRequest } from './childRequest.ts'

/** The part of node-llama-cpp 3.22 that is used here. */
interface NodeLlamaCpp {
  getLlama(options: object): Promise<{ loadModel(options: object): Promise<LlamaModel> }>
  getModuleVersion(): Promise<string>
}

interface LlamaModel {
  createContext(options: object): Promise<{ getSequence(): LlamaSequence }>
}

interface LlamaSequence {
  controlledEvaluate(
    input: readonly (readonly [number, object])[],
  ): Promise<readonly ({ readonly next: { readonly logits?: ReadonlyMap<number, number> } } | undefined)[]>
  clearHistory(): Promise<void>
}

/** Tokens asked for at a time: their logits come as maps, which are large. */
const step = 16

/** The whole program of the child process: scores the request on standard input with llama.cpp. */
export async function scoreWithLlamaCpp(library: NodeLlamaCpp): Promise<void> {
  const { path, ids, rows, rowLength, width: vocabulary, output } = readRequest()
  const llama = await library.getLlama({ gpu: false, build: 'never', logLevel: 'error' })
  const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 })
  const context = await model.createContext({
    contextSize: Math.max(rowLength + 8, 64),
    // llama.cpp keeps keys and values as F16 unless told otherwise, which would hide small errors of ours
    experimentalKvCacheKeyType: 'F32',
    experimentalKvCacheValueType: 'F32',
    flashAttention: false,
    // its threads wait for each other by spinning: on a busy machine one is faster than several
    threads: 1,
  })
  const sequence = context.getSequence()
  const logits = new Float32Array(rows * rowLength * vocabulary)
  for (let row = 0; row < rows; row++) {
    await sequence.clearHistory()
    for (let start = 0; start < rowLength; start += step) {
      const tokens = ids.slice(row * rowLength + start, row * rowLength + Math.min(start + step, rowLength))
      const results = await sequence.controlledEvaluate(tokens.map((id) => [id, { generateNext: { logits: true } }]))
      for (const [i, result] of results.entries()) {
        const found = result?.next.logits
        if (found?.size !== vocabulary)
          throw new Error(`position ${start + i} has ${found?.size ?? 'no'} logits, expected ${vocabulary}`)
        const at = (row * rowLength + start + i) * vocabulary
        for (const [token, value] of found) logits[at + token] = value
      }
    }
  }
  writeFileSync(output, new Uint8Array(logits.buffer))
  process.stdout.write(`\n${await library.getModuleVersion()}\n`)
  // llama.cpp frees its threads when it likes; the answer is written
  process.exit(0)
}
