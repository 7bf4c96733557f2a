import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { exportHuggingFace } from '../../src/export/huggingface.ts'
import type { Model } from '../../src/model/model.ts'
import { blockSizes } from '../../src/model/plan.ts'
import { tasksOf } from '../../src/model/task.ts'
import { Random } from '../../src/tensor/random.ts'
import type { PruningPlan, TokenRows } from '../../src/types.ts'
import { predict } from '../../src/verify/predictions.ts'

/** What `verify_families.py` says of the cases, a line a check; shown as it comes. Throws where it does not get to its end. */
export async function verifyCases(python: string, cases: readonly object[], folder: string): Promise<string> {
  const file = join(folder, 'cases.json')
  await writeFile(file, JSON.stringify(cases))
  const child = spawn(python, [join(import.meta.dirname, 'verify_families.py'), file], {
    // models this small are slower on several threads
    env: { ...process.env, HF_HUB_OFFLINE: '1', HF_MODULES_CACHE: join(folder, 'modules'), OMP_NUM_THREADS: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const said = { stdout: '', stderr: '' }
  child.stdout.on('data', (text) => {
    said.stdout += text
    process.stdout.write(text)
  })
  child.stderr.on('data', (text) => {
    said.stderr += text
  })
  await once(child, 'close')
  if (!said.stdout.includes('checks passed')) throw new Error(said.stderr.slice(-2000))
  return said.stdout
}

/** Two rows of sources, and of targets behind an encoder, drawn with a fixed seed from the words that are no special ones. */
export function casesRows({ architecture, sizes }: Model): TokenRows {
  const random = new Random(1)
  const { V, W = V } = sizes as { V: number; W?: number }
  const draw = (rows: number, rowLength: number, words: number): TokenRows => {
    const ids = Int32Array.from({ length: rows * rowLength }, () => 3 + random.below(words - 3))
    return { ids, rows, rowLength }
  }
  const decoder = architecture.family === 'encoderDecoder' ? draw(2, 16, V) : undefined
  return { ...draw(2, 20, W), ...(decoder && { decoder }) }
}

/** Exports, and writes beside the export what the engine computes of the plan. */
export async function exportCase(model: Model, plan: PruningPlan, directory: string): Promise<object> {
  const { form } = await exportHuggingFace(model, plan, directory)
  const rows = casesRows(model)
  const engine = openLocalEngine(model, { threads: 1 })
  try {
    const expected = await predict(model, engine, rows, plan)
    const file = `${directory}.expected.bin`
    await writeFile(file, new Uint8Array(expected.buffer, expected.byteOffset, expected.byteLength))
    const ids = (part: TokenRows) => ({ ids: [...part.ids], rows: part.rows })
    return {
      export: directory,
      form,
      task: tasksOf(model)[0],
      input: ids(rows),
      // transformers refuses a saved Llama with an odd head size, rotary positions or not (Baichuan 13B as small as it can be)
      reloads: model.blocks.every((block) => blockSizes(model, block)['E']! % 2 === 0),
      decoder: rows.decoder && ids(rows.decoder),
      expected: file,
    }
  } finally {
    await engine.close()
  }
}
