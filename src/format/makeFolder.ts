import { mkdir, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'

/**
 * Makes a folder and the parents it lacks, one by one. Node's `recursive` asks for ever where a file system says that a parent which
 * is there does not exist, as /proc does, and its thread outlives a signal. Throws the system's error.
 */
export async function makeFolder(path: string): Promise<void> {
  const missing: string[] = []
  for (let folder = resolve(path); !(await isThere(folder)); folder = dirname(folder)) missing.push(folder)
  if (missing.length === 0) missing.push(resolve(path))
  for (const folder of missing.reverse()) {
    try {
      await mkdir(folder)
    } catch (cause) {
      const wasMadeMeanwhile = (cause as NodeJS.ErrnoException).code === 'EEXIST' && (await isFolder(folder))
      if (!wasMadeMeanwhile) throw cause
    }
  }
}

async function isThere(path: string): Promise<boolean> {
  // the root has no parent to go on with
  if (path === dirname(path)) return true
  return stat(path).then(
    () => true,
    () => false,
  )
}

async function isFolder(path: string): Promise<boolean> {
  return (await stat(path)).isDirectory()
}
