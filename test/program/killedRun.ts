import { existsSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { Random } from '../../src/tensor/random.ts'
import { blockpruner } from './commandLine.ts'

/** One run left alone and one killed at random moments, each time started again, at last to its end. */
export async function killedRun(options: readonly string[], { attempts, seed }: { attempts: number; seed: number }) {
  const [whole, killed] = [mkdtempSync(join(tmpdir(), 'whole-')), mkdtempSync(join(tmpdir(), 'killed-'))]
  const args = (output: string) => ['prune', '--output', output, ...options]
  const begin = performance.now()
  expect(await blockpruner(args(whole))).toMatchObject({ code: 0 })
  const wholeMs = performance.now() - begin
  const random = new Random(seed)
  let kills = 0
  for (let attempt = 0; attempt < attempts; attempt++) {
    // a run that goes on is shorter each time: most of its time is the start
    const afterMs = (0.2 + 0.5 * random.uniform()) * wholeMs
    const { signal } = await blockpruner(args(killed), (kill) => setTimeout(() => kill('SIGKILL'), afterMs))
    if (signal === 'SIGKILL') kills += 1
    // whatever has its final name is whole
    if (existsSync(join(killed, 'plan.json'))) JSON.parse(readFileSync(join(killed, 'plan.json'), 'utf8'))
  }
  expect(await blockpruner(args(killed))).toMatchObject({ code: 0 })
  return { kills, whole, killed }
}

/** The same plan byte for byte, the same evaluations, none of them twice, and nothing else left in the folder. */
export function expectEqualRuns(whole: string, killed: string): void {
  const lines = (folder: string) => readFileSync(join(folder, 'journal.jsonl'), 'utf8').trimEnd().split('\n')
  expect(readFileSync(join(killed, 'plan.json'), 'utf8')).toBe(readFileSync(join(whole, 'plan.json'), 'utf8'))
  expect(lines(killed).toSorted()).toEqual(lines(whole).toSorted())
  expect(new Set(lines(killed)).size).toBe(lines(killed).length)
  expect(readdirSync(killed).toSorted()).toEqual(readdirSync(whole).toSorted())
}
