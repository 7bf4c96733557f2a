import { spawn } from 'node:child_process'
import { resolve } from 'node:path'

const main = resolve(import.meta.dirname, '../../dist/cli/main.js')

export interface Finished {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** Starts the built program; `started` is called with what kills it. */
export function blockpruner(
  args: readonly string[],
  started: (kill: (signal: NodeJS.Signals) => void) => void = () => {},
) {
  return new Promise<Finished>((done, fail) => {
    const child = spawn(process.execPath, [main, ...args])
    let [stdout, stderr] = ['', '']
    child.stdout.on('data', (data) => {
      stdout += data
    })
    child.stderr.on('data', (data) => {
      stderr += data
    })
    child.on('error', fail)
    child.on('close', (code, signal) => done({ code, signal, stdout, stderr }))
    started((name) => child.kill(name))
  })
}
