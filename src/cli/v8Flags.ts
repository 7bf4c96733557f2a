import { setFlagsFromString } from 'node:v8'

/**
 * Sets V8 up for the engine, in the whole process and before its thread is started: every result of the runtime counts as garbage to come, and the threads that mark
 * it took an eighth of a small model's pass (BART, 4 x 128). A program may do so, a library must not.
 */
export function setV8Flags(): void {
  setFlagsFromString('--no-concurrent-marking')
  // weights that are let go are large, and are to be gone before the next ones are read
  setFlagsFromString('--expose-gc')
}
