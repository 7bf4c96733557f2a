import { readFileSync } from 'node:fs'
import type { ChildRequest } from './childProcess.ts'

/** The request on this process's standard input. */
export function readRequest(): ChildRequest {
  return JSON.parse(readFileSync(0, 'utf8')) as ChildRequest
}
