import { setFlagsFromString } from 'node:v8'

/**
 * Sets V8 up for the engine, in the whole process: every result of the runtime counts as garbage to come, and the threads that mark
 * it took an eighth of a small model's pass (BART, 4 x 128). A program may do so, a library must not.
 */
export function setV8Flags(): void {
  setFlagsFromString('--no-concurrent-marking')
}
