// Loads two exported folders with transformers.js and lets both go on with the same text, one after the other, so that
// neither takes the processor from the other.
import { AutoModelForCausalLM, AutoTokenizer, env, TextStreamer } from '@huggingface/transformers'

const address = new URLSearchParams(location.search)
const form = document.querySelector('form')
const sides = ['dense', 'pruned']

// models come from this page's own server or from a folder the user picks, which answers under its side's name
const picked = new Map()
env.allowRemoteModels = false
env.allowLocalModels = true
env.localModelPath = '/models/'
env.useBrowserCache = false
env.backends.onnx.wasm.wasmPaths = new URL('/runtime/', location.href).href
const fetchFromServer = env.fetch ?? fetch
env.fetch = (input, options) => {
  const { pathname } = new URL(input, location.href)
  const [, , side, ...rest] = pathname.split('/')
  const files = pathname.startsWith('/models/') ? picked.get(side) : undefined
  if (files === undefined) return fetchFromServer(input, options)
  const file = files.get(decodeURIComponent(rest.join('/')))
  return Promise.resolve(file === undefined ? new Response(null, { status: 404 }) : new Response(file))
}

for (const side of sides) {
  document.querySelector(`#${side} input`).addEventListener('change', ({ target }) => {
    // the first part of a path is the folder itself
    const files = [...target.files].map((file) => [file.webkitRelativePath.split('/').slice(1).join('/'), file])
    picked.set(side, new Map(files))
    loaded.delete(side)
    show(side, { facts: `${target.files.length} files` })
  })
}

form.addEventListener('submit', async (event) => {
  event.preventDefault()
  form.querySelector('button').disabled = true
  await generateBoth()
  form.querySelector('button').disabled = false
})

/** Both sides, each with what went wrong in place of a text where something did. */
async function generateBoth() {
  const results = {}
  for (const side of sides) {
    try {
      results[side] = await generate(side, form.dtype.value, form.prompt.value)
    } catch (error) {
      results[side] = { error: String(error.message ?? error) }
      show(side, { facts: results[side].error })
    }
  }
  return results
}

const loaded = new Map()

async function load(side, dtype) {
  const known = loaded.get(side)
  if (known?.dtype === dtype) return known
  await known?.model.dispose()
  show(side, { facts: 'loading …' })
  const sizes = new Map()
  const onProgress = ({ status, file, total }) => {
    if (status === 'progress' && /\.onnx(_data.*)?$/.test(file)) sizes.set(file, total)
  }
  const tokenizer = await AutoTokenizer.from_pretrained(side)
  const model = await AutoModelForCausalLM.from_pretrained(side, {
    dtype,
    device: 'wasm',
    progress_callback: onProgress,
  })
  const sizeBytes = [...sizes.values()].reduce((sum, size) => sum + size, 0)
  const entry = { dtype, tokenizer, model, sizeBytes }
  loaded.set(side, entry)
  return entry
}

/** Greedy text after `prompt`, its ids, and the speed of everything after the first token. */
async function generate(side, dtype, prompt) {
  const { tokenizer, model, sizeBytes } = await load(side, dtype)
  const size = `${(sizeBytes / 1e6).toFixed(1)} MB`
  let [text, tokens, started] = ['', 0, 0]
  const streamer = new TextStreamer(tokenizer, {
    skip_prompt: true,
    callback_function(piece) {
      text += piece
      show(side, { text: prompt + text })
    },
    token_callback_function() {
      if (tokens++ === 0) started = performance.now()
    },
  })
  const inputs = inputsOf(tokenizer, prompt)
  show(side, { facts: `${size}, generating …`, text: prompt })
  const output = await model.generate({ ...inputs, do_sample: false, max_new_tokens: 48, streamer })
  const speed = (tokens - 1) / ((performance.now() - started) / 1000)
  show(side, { facts: `${size}, ${speed.toFixed(1)} tokens per second` })
  return { text, ids: Array.from(output.tolist()[0], Number), sizeBytes, tokensPerSecond: speed }
}

/** The prompt as a turn of a chat where the model has a template for one, else as the beginning of a text. */
function inputsOf(tokenizer, prompt) {
  if (!tokenizer.chat_template) return tokenizer(prompt)
  const turns = [{ role: 'user', content: prompt }]
  return tokenizer.apply_chat_template(turns, { add_generation_prompt: true, return_dict: true })
}

function show(side, { facts, text }) {
  const section = document.getElementById(side)
  if (facts !== undefined) section.querySelector('.facts').textContent = facts
  if (text !== undefined) section.querySelector('.text').textContent = text
}

// ?dtype=fp32&prompt=… sets the form; with &report the page generates at once and posts the results to its server
for (const name of ['dtype', 'prompt']) if (address.has(name)) form[name].value = address.get(name)
if (address.has('report')) {
  await fetch('/report', { method: 'POST', body: JSON.stringify(await generateBoth()) })
}
