// node tokenizeInLlamaCpp.mjs FILE TEXT, run where node_modules has node-llama-cpp: the ids of TEXT, special tokens as text.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const [file, text] = process.argv.slice(2)
const { getLlama } = await import(pathToFileURL(entryOf('node-llama-cpp')).href)
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error' })
const model = await llama.loadModel({ modelPath: file, gpuLayers: 0, vocabOnly: true })
console.log(JSON.stringify(Array.from(model.tokenize(text))))
process.exit(0)

/** The package has no entry for `require`, so its manifest is looked for beside it. */
function entryOf(name) {
  const paths = createRequire(`${process.cwd()}/here.js`).resolve.paths(name)
  for (const path of paths) {
    try {
      return createRequire(`${path}/here.js`).resolve(`${path}/${name}/dist/index.js`)
    } catch {
      // not in this node_modules
    }
  }
  throw new Error(`${name} is in none of ${paths.join(', ')}`)
}
