// node examples/browser/serve.mjs DENSE PRUNED: serves the page, transformers.js and two exported ONNX folders.
// transformers.js is taken from the nearest node_modules that has it: npm i @huggingface/transformers
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { dirname, extname, join, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

const types = {
  '.html': 'text/html',
  '.css': 'text/css',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
}

/**
 * Starts the server on `port`, 0 for any, and returns it with its address. `modulesFrom` is a folder in or above which
 * node_modules has transformers.js; `onReport` gets what the page posts.
 */
export async function serve({ dense, pruned, port = 8080, modulesFrom = process.cwd(), onReport }) {
  const require = createRequire(join(resolve(modulesFrom), 'here.js'))
  const library = dirname(require.resolve('@huggingface/transformers'))
  const runtime = dirname(createRequire(join(library, 'here.js')).resolve('onnxruntime-web'))
  const folders = {
    '/models/dense/': dense,
    '/models/pruned/': pruned,
    '/library/': library,
    '/runtime/': runtime,
    '/': dirname(fileURLToPath(import.meta.url)),
  }
  const server = createServer(async (request, response) => {
    // with these two a page may use threads
    response.setHeader('Cross-Origin-Opener-Policy', 'same-origin')
    response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp')
    const path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname)
    if (request.method === 'POST' && path === '/report') {
      const parts = []
      for await (const part of request) parts.push(part)
      response.end()
      onReport?.(JSON.parse(Buffer.concat(parts).toString()))
      return
    }
    const [prefix, folder] = Object.entries(folders).find(([start]) => path.startsWith(start))
    const file = resolve(folder, `.${sep}${path.slice(prefix.length) || 'index.html'}`)
    const found = file.startsWith(resolve(folder) + sep) ? await stat(file).catch(() => undefined) : undefined
    if (!found?.isFile()) {
      response.writeHead(404).end()
      return
    }
    response.setHeader('Content-Type', types[extname(file)] ?? 'application/octet-stream')
    response.setHeader('Content-Length', found.size)
    createReadStream(file).pipe(response)
  })
  await new Promise((done) => server.listen(port, 'localhost', done))
  return { server, address: `http://localhost:${server.address().port}/` }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [dense, pruned] = process.argv.slice(2)
  if (dense === undefined || pruned === undefined) {
    console.error(
      'usage: node examples/browser/serve.mjs DENSE PRUNED\nboth folders as blockpruner writes them with --format onnx',
    )
    process.exit(2)
  }
  const { address } = await serve({ dense, pruned })
  console.log(`${address} shows ${dense} and ${pruned}; Ctrl-C stops`)
}
