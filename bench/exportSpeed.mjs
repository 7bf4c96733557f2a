// The Node side of exports.mjs' speeds: llama.cpp through node-llama-cpp, and transformers.js. Each function is the whole program of
// a child process. It reads { paths, dtype, prompt, tokens, rounds, threads } as JSON, loads every export of `paths` side by side,
// reads the prompt and generates `tokens` tokens with each in turn, round by round, greedily and past any end of text, and prints
// as the last line { times }: for each path its seconds round by round, or why there are none.
import { readFileSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

export async function timeLlamaCpp(library) {
  const request = JSON.parse(readFileSync(0, 'utf8'))
  const { prompt, tokens, threads } = request
  const llama = await library.getLlama({ gpu: false, build: 'never', logLevel: 'error', maxThreads: threads })
  const sample = { generateNext: { token: true, options: { temperature: 0 } } }
  await timeAll(request, async (modelPath) => {
    const model = await llama.loadModel({ modelPath, gpuLayers: 0 })
    const context = await model.createContext({ contextSize: prompt.length + tokens + 8, threads })
    const sequence = context.getSequence()
    return async (count) => {
      await sequence.clearHistory()
      const times = [performance.now()]
      let results = await sequence.controlledEvaluate([...prompt.slice(0, -1), [prompt.at(-1), sample]])
      times.push(performance.now())
      for (let i = 0; i < count; i++) {
        results = await sequence.controlledEvaluate([[results.at(-1).next.token, sample]])
        times.push(performance.now())
      }
      return times
    }
  })
}

export async function timeTransformersJs(library) {
  const request = JSON.parse(readFileSync(0, 'utf8'))
  const { dtype, prompt, threads } = request
  library.env.allowRemoteModels = false
  const session_options = { intraOpNumThreads: threads, interOpNumThreads: 1 }
  const tensor = (values) => new library.Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length])
  await timeAll(request, async (path) => {
    library.env.localModelPath = dirname(path)
    const model = await library.AutoModelForCausalLM.from_pretrained(basename(path), { dtype, session_options })
    return async (count) => {
      const times = []
      // put gets the prompt first, then each token
      const streamer = { put: () => times.push(performance.now()), end() {} }
      await model.generate({
        input_ids: tensor(prompt),
        attention_mask: tensor(prompt.map(() => 1)),
        max_new_tokens: count + 1,
        do_sample: false,
        eos_token_id: null,
        streamer,
      })
      return times
    }
  })
}

/** `open` loads a path and returns a function that gives the times at the start, at the first token, and at each of so many more. */
async function timeAll({ paths, rounds, tokens }, open) {
  const runs = []
  const times = []
  for (const [i, path] of paths.entries()) {
    try {
      runs[i] = await open(path)
      times[i] = []
      await runs[i](2) // untimed: memory is taken, weights are read
    } catch (error) {
      times[i] = { error: error.message }
    }
  }
  for (let round = 0; round < rounds; round++) {
    for (const [i, run] of runs.entries()) {
      if (!Array.isArray(times[i])) continue
      await sleep(50) // threads of the one before that still spin would slow it
      const ticks = await run(tokens)
      if (ticks.length !== tokens + 2)
        throw new Error(`${paths[i]}: ${ticks.length - 1} tokens, expected ${tokens + 1}`)
      times[i].push({ prompt: (ticks[1] - ticks[0]) / 1000, generation: (ticks.at(-1) - ticks[1]) / 1000 })
    }
  }
  process.stdout.write(`\n${JSON.stringify({ times })}\n`)
  // llama.cpp frees its threads when it likes; the answer is written
  process.exit(0)
}
