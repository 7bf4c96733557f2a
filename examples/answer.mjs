// node answer.mjs FILE.gguf "What is the capital of France?" [TOKENS]: what a GGUF file answers in llama.cpp, greedily.
// Needs node-llama-cpp: npm install --ignore-scripts node-llama-cpp
import { getLlama, LlamaChatSession, LlamaCompletion } from 'node-llama-cpp'

const [file, prompt, tokens = '60'] = process.argv.slice(2)
if (file === undefined || prompt === undefined) {
  console.error('usage: node answer.mjs FILE.gguf PROMPT [TOKENS]')
  process.exit(2)
}
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error' })
const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 })
// its threads wait for each other by spinning: on a busy machine one is faster than several
const context = await model.createContext({ contextSize: 512, threads: 1 })
const sequence = context.getSequence()
const options = { maxTokens: Number(tokens), temperature: 0 }

// a model with a chat template is asked, any other goes on with the text
const isChat = model.fileInfo.metadata.tokenizer?.chat_template !== undefined
const text = isChat
  ? await new LlamaChatSession({ contextSequence: sequence }).prompt(prompt, options)
  : await new LlamaCompletion({ contextSequence: sequence }).generateCompletion(prompt, options)
console.log(text.trim())
process.exit(0)
