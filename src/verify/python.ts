import { scoreInChild } from './childProcess.ts'
import type { Scored, ScoreRequest } from './consumer.ts'

/** What a Python program ends with where its libraries are missing, or cannot open the form; it prints which. */
export const skipCode = 77

/** Scores `request` with a program for Python, where `BLOCKPRUNER_PYTHON` or `PYTHON` names an interpreter or python3 is on the PATH. */
export async function scoreInPython(program: string, request: ScoreRequest): Promise<Scored> {
  const python = process.env['BLOCKPRUNER_PYTHON'] || process.env['PYTHON'] || 'python3'
  const scored = await scoreInChild(python, ['-c', program], request, { skipCode })
  const isMissing = 'failed' in scored && /ENOENT|code 127/.test(scored.failed)
  return isMissing ? { skipped: `${python} is not installed; BLOCKPRUNER_PYTHON names another interpreter` } : scored
}
