import { createHash, randomBytes } from 'node:crypto'
import { readdir, rename, rm, stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'

/** `tmp`: being written, worth nothing. `old`: what was at the place before, set aside for the moment of replacing it. */
export type TemporaryKind = 'tmp' | 'old'

/** Another machine's process cannot be asked whether it lives; nothing we write goes a day without touching its file. */
const abandonedMs = 24 * 60 * 60 * 1000

const host = createHash('sha256').update(hostname()).digest('hex').slice(0, 8)

const pattern = /^\.(?<host>[0-9a-f]{8})-(?<pid>\d{1,10})-[0-9a-f]{8}\.(?<kind>tmp|old)$/

/** A name beside `path` that nobody else uses and that says whose it is: `model.1f0c22aa-4711-9be2d0c4.tmp`. */
export function temporaryBeside(path: string, kind: TemporaryKind): string {
  return `${path}.${host}-${process.pid}-${randomBytes(4).toString('hex')}.${kind}`
}

/**
 * Clears what a killed process left beside `path`: removes its temporaries, and puts back what it had set aside where
 * it was killed between the two renames that replace a folder. Temporaries of running processes stay.
 */
export async function removeLeftovers(path: string): Promise<void> {
  const folder = dirname(path)
  const name = basename(path)
  const names = await readdir(folder)
  const present = names.includes(name)
  for (const other of names.filter((entry) => entry.startsWith(name))) {
    const match = pattern.exec(other.slice(name.length))
    if (match?.groups === undefined) continue
    const leftover = join(folder, other)
    if (!(await isAbandoned(leftover, match.groups['host']!, Number(match.groups['pid'])))) continue
    if (match.groups['kind'] === 'old' && !present) await rename(leftover, path)
    else await rm(leftover, { recursive: true, force: true })
  }
}

async function isAbandoned(path: string, ownerHost: string, pid: number): Promise<boolean> {
  let touchedMs: number
  try {
    touchedMs = (await stat(path)).mtimeMs
  } catch {
    // its owner finished between the listing and here
    return false
  }
  if (Date.now() - touchedMs > abandonedMs) return true
  if (ownerHost !== host) return false
  // process ids come again, in a container the very same one
  if (pid === process.pid) return touchedMs < Date.now() - process.uptime() * 1000
  try {
    process.kill(pid, 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}
