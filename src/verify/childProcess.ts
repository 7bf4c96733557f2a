import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Scored, ScoreRequest } from './consumer.ts'
import { countOfPredictions, type PredictionKind } from './predictions.ts'

/** What a child gets on its standard input. */
export interface ChildRequest {
  readonly path: string
  readonly dtype: string | undefined
  readonly ids: readonly number[]
  readonly rows: number
  readonly rowLength: number
  /** Tokens of each row before its padding. */
  readonly lengths: readonly number[]
  /** What the decoder of an encoder-decoder reads. */
  readonly decoder: { readonly ids: readonly number[]; readonly rowLength: number } | undefined
  readonly prediction: PredictionKind
  /** Values of one prediction. */
  readonly width: number
  /** Where it writes the predictions, float32, little-endian. */
  readonly output: string
}

/** A model loads in seconds; the largest that fit in memory take minutes. */
const timeoutMs = 20 * 60_000

/** Characters of a consumer's last words that a report repeats. */
const maxReasonLength = 400

/**
 * Runs a program that scores a request, as a process of its own: a consumer that aborts takes only itself down. It reads
 * a `ChildRequest` as JSON, writes the logits to `output` and one line, its version, to its standard output.
 */
export async function scoreInChild(
  command: string,
  args: readonly string[],
  request: ScoreRequest,
  options: { readonly cwd?: string; readonly skipCode?: number } = {},
): Promise<Scored> {
  const folder = await mkdtemp(join(tmpdir(), 'blockpruner-verify-'))
  try {
    const output = join(folder, 'logits.f32')
    const { ids, rows, rowLength, lengths, decoder } = request.rows
    const { prediction, width } = request
    const message: ChildRequest = {
      path: resolve(request.path),
      dtype: request.dtype,
      ids: [...ids],
      rows,
      rowLength,
      lengths: lengths === undefined ? new Array<number>(rows).fill(rowLength) : [...lengths],
      decoder: decoder && { ids: [...decoder.ids], rowLength: decoder.rowLength },
      prediction,
      width,
      output,
    }
    const ended = await runChild(command, args, JSON.stringify(message), options.cwd)
    if (ended.code === options.skipCode && options.skipCode !== undefined) return { skipped: lastLine(ended.stdout) }
    if (ended.code !== 0) {
      const how = ended.signal === null ? `ended with code ${ended.code}` : `was ended by ${ended.signal}`
      return { failed: `${how}: ${lastLine(ended.stderr) || lastLine(ended.stdout) || 'it said nothing'}` }
    }
    const bytes = await readFile(output)
    const logits = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))
    const expected = countOfPredictions(prediction, request.rows) * width
    if (logits.length !== expected) return { failed: `gave ${logits.length} logits, expected ${expected}` }
    return { logits, version: lastLine(ended.stdout) }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

function runChild(command: string, args: readonly string[], input: string, cwd: string | undefined): Promise<Ended> {
  return new Promise((done) => {
    const child = spawn(command, args, { cwd, stdio: ['pipe', 'pipe', 'pipe'], timeout: timeoutMs })
    let [stdout, stderr] = ['', '']
    child.stdout.on('data', (chunk) => (stdout += chunk))
    child.stderr.on('data', (chunk) => (stderr += chunk))
    child.on('error', (error) => done({ code: 127, signal: null, stdout, stderr: error.message }))
    child.on('close', (code, signal) => done({ code, signal, stdout, stderr }))
    // a child that is gone before it has read everything says so by its exit code
    child.stdin.on('error', () => {})
    child.stdin.end(input)
  })
}

/** The last line that says something: of a stack trace, the error. */
function lastLine(text: string): string {
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
  const error = lines.find((line) => /^\w*Error\b|^\[?error/i.test(line))
  return (error ?? lines.at(-1) ?? '').slice(0, maxReasonLength)
}

/** The folder from which Node would find the package `name`, among `folders`, this package and the current folder. */
export function folderWithPackage(name: string, folders: readonly string[]): string | undefined {
  const own = dirname(fileURLToPath(import.meta.url))
  for (const start of [...folders.map((folder) => resolve(folder)), own, process.cwd()]) {
    for (let folder = start; ; folder = dirname(folder)) {
      if (existsSync(join(folder, 'node_modules', name, 'package.json'))) return folder
      if (folder === dirname(folder)) break
    }
  }
  return undefined
}

/** Arguments for Node that import the package `name` from the current folder and hand it to `run` of our module. */
export function nodeArguments(name: string, module: string, run: string): string[] {
  // under a test runner this file is TypeScript, which Node 20 cannot load: use the build
  const built = import.meta.url.endsWith('.ts') ? '../../dist/verify/' : './'
  const url = new URL(`${built}${module}.js`, import.meta.url).href
  // node-llama-cpp forks a file to test its binary, and a fork inherits these arguments
  const code = `process.execArgv = []
const { ${run} } = await import(${JSON.stringify(url)})
await ${run}(await import(${JSON.stringify(name)}))`
  return ['--input-type=module', '-e', code]
}
