// Loads two exported folders with transformers.js and lets both go on with the same text, one after the other, so that
// neither takes the processor from the other.
import { AutoModelForCausalLM, AutoTokenizer, env, TextStreamer } from '@huggingface/transformers'

const address = new URLSearchParams(location.search)
const form = document.querySelector('form')
const sides = ['dense', 'pruned']

/** What blockpruner calls a type of weights, and the file it is in. */
const files = { fp32: 'model.onnx', fp16: 'model_fp16.onnx', q8: 'model_quantized.onnx', q4: 'model_q4.onnx' }

// models come from this page's own server or from a folder the user picks, which answers under its side's name
const picked = new Map()
env.allowRemoteModels = false
env.allowLocalModels = true
env.localModelPath = '/models/'
env.useBrowserCache = false
env.backends.onnx.wasm.wasmPaths = new URL('/runtime/', location.href).href
const fetchFromServer = env.fetch ?? fetch
const fetchModel = (input, options) => {
  const { pathname } = new URL(input, location.href)
  const [, , side, ...rest] = pathname.split('/')
  const chosen = pathname.startsWith('/models/') ? picked.get(side) : undefined
  if (chosen === undefined) return fetchFromServer(input, options)
  const file = chosen.get(decodeURIComponent(rest.join('/')))
  return Promise.resolve(file === undefined ? new Response(null, { status: 404 }) : new Response(file))
}
env.fetch = fetchModel

for (const side of sides) {
  document.querySelector(`#${side} input`).addEventListener('change', async ({ target }) => {
    // the first part of a path is the folder itself
    const chosen = [...target.files].map((file) => [file.webkitRelativePath.split('/').slice(1).join('/'), file])
    picked.set(side, new Map(chosen))
    loaded.delete(side)
    const types = await typesOf(side)
    show(side, { facts: types.length > 0 ? `has ${listed(types)}` : 'no ONNX export: it has no onnx/model….onnx' })
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
      results[side] = await generate(side, form.dtype.value, form.device.value, form.prompt.value)
    } catch (error) {
      results[side] = { error: String(error.message ?? error) }
      show(side, { facts: results[side].error, failed: true })
    }
  }
  return results
}

/** The types of weights that a side's folder holds. */
async function typesOf(side) {
  const found = await Promise.all(
    Object.values(files).map((file) => fetchModel(`/models/${side}/onnx/${file}`, { method: 'HEAD' })),
  )
  return Object.keys(files).filter((_, i) => found[i].ok)
}

const listed = (names) => names.join(', ').replace(/, ([^,]*)$/, ' and $1')

const loaded = new Map()

async function load(side, dtype, device) {
  const known = loaded.get(side)
  if (known?.dtype === dtype && known.device === device) return known
  await known?.model.dispose()
  loaded.delete(side)
  const types = await typesOf(side)
  if (types.length === 0) throw new Error(`No model: choose the folder of the ${side} one.`)
  if (!types.includes(dtype)) {
    throw new Error(
      `This folder has no ${dtype} weights, only ${listed(types)}. Choose another type above, or export again with --dtypes ${dtype}.`,
    )
  }
  show(side, { facts: 'loading …', failed: false })
  const sizes = new Map()
  const onProgress = ({ status, file, loaded: bytes, total }) => {
    if (status !== 'progress' || !/\.onnx(_data.*)?$/.test(file)) return
    sizes.set(file, { bytes, total })
    const sum = (of) => [...sizes.values()].reduce((all, size) => all + size[of], 0)
    show(side, { facts: `loading ${megabytes(sum('bytes'))} of ${megabytes(sum('total'))} MB`, progress: sizes })
  }
  try {
    const tokenizer = await AutoTokenizer.from_pretrained(side)
    const model = await AutoModelForCausalLM.from_pretrained(side, { dtype, device, progress_callback: onProgress })
    const sizeBytes = [...sizes.values()].reduce((sum, { total }) => sum + total, 0)
    const entry = { dtype, device, tokenizer, model, sizeBytes }
    loaded.set(side, entry)
    return entry
  } finally {
    show(side, { progress: undefined })
  }
}

const megabytes = (bytes) => (bytes / 1e6).toFixed(1)

/** Greedy text after `prompt`, its ids, and the speed of everything after the first token. */
async function generate(side, dtype, device, prompt) {
  const { tokenizer, model, sizeBytes } = await load(side, dtype, device)
  const facts = `${megabytes(sizeBytes)} MB, ${device === 'webgpu' ? 'WebGPU' : 'WebAssembly'}`
  const isChat = Boolean(tokenizer.chat_template)
  const inputs = inputsOf(tokenizer, prompt, isChat)
  const given = Array.from(inputs.input_ids.tolist()[0], Number)
  const textOf = (ids) => tokenizer.decode(ids, { skip_special_tokens: true })
  // cut out of the whole text: what a token begins with depends on the one before
  const answerOf = (ids) => textOf([...given, ...ids]).slice(textOf(given).length)
  const ids = []
  let started = 0
  const streamer = new TextStreamer(tokenizer, {
    skip_prompt: true,
    callback_function() {},
    token_callback_function(tokens) {
      if (ids.length === 0) started = performance.now()
      ids.push(...tokens.map(Number))
      show(side, { answer: answerOf(ids) })
    },
  })
  show(side, { facts: `${facts}, generating …`, said: prompt, isChat, answer: '', failed: false })
  const output = await model.generate({ ...inputs, do_sample: false, max_new_tokens: 48, streamer })
  const speed = (ids.length - 1) / ((performance.now() - started) / 1000)
  show(side, { facts: `${facts}, ${speed.toFixed(1)} tokens per second` })
  const all = Array.from(output.tolist()[0], Number)
  return { text: answerOf(ids), ids: all, sizeBytes, tokensPerSecond: speed }
}

/** The prompt as a turn of a chat where the model has a template for one, else as the beginning of a text. */
function inputsOf(tokenizer, prompt, isChat) {
  if (!isChat) return tokenizer(prompt)
  const turns = [{ role: 'user', content: prompt }]
  return tokenizer.apply_chat_template(turns, { add_generation_prompt: true, return_dict: true })
}

/** Changes what is given. The answer follows a text directly, and a turn of a chat on a line of its own. */
function show(side, { facts, failed, said, isChat, answer, ...rest }) {
  const section = document.getElementById(side)
  const part = (name) => section.querySelector(name)
  if (facts !== undefined) part('.facts').textContent = facts
  if (failed !== undefined) part('.facts').classList.toggle('failed', failed)
  if (said !== undefined) part('.said').textContent = said
  if (isChat !== undefined) part('.said').classList.toggle('turn', isChat)
  if (answer !== undefined) part('.answer').textContent = answer
  if ('progress' in rest) {
    const bar = part('progress')
    const sizes = [...(rest.progress?.values() ?? [])]
    bar.hidden = sizes.length === 0
    bar.max = sizes.reduce((sum, { total }) => sum + total, 0) || 1
    bar.value = sizes.reduce((sum, { bytes }) => sum + bytes, 0)
  }
}

// a browser may know WebGPU and have no card for it
if (await navigator.gpu?.requestAdapter().catch(() => undefined)) {
  const option = form.device.querySelector('[value=webgpu]')
  option.disabled = false
  option.textContent = 'graphics card (WebGPU)'
  form.device.value = 'webgpu'
}

// ?dtype=fp32&device=wasm&prompt=… sets the form; with &report the page generates at once and posts the results to its server
for (const name of ['dtype', 'device', 'prompt']) if (address.has(name)) form[name].value = address.get(name)
if (address.has('report')) {
  await fetch('/report', { method: 'POST', body: JSON.stringify(await generateBoth()) })
}
