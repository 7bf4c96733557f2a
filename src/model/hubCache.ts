import { homedir } from 'node:os'
import { join } from 'node:path'

/** Where Python's huggingface_hub keeps what belongs to a user: HF_HOME, else in the user's cache. */
export function hubHome(): string {
  return pathIn('HF_HOME') ?? join(pathIn('XDG_CACHE_HOME') ?? join(homedir(), '.cache'), 'huggingface')
}

/** The cache that Python's huggingface_hub shares: HF_HUB_CACHE, else `hub` in its home. */
export function hubCachePath(): string {
  return pathIn('HF_HUB_CACHE') ?? pathIn('HUGGINGFACE_HUB_CACHE') ?? join(hubHome(), 'hub')
}

/** The path in a variable of the environment, its `~` and `$NAME` expanded as Python expands them; undefined where it is empty. */
export function pathIn(variable: string): string | undefined {
  const path = process.env[variable]
  if (!path) return undefined
  const named = path.replace(/\$(?:\{(\w+)\}|(\w+))/g, (text, braced, bare) => process.env[braced ?? bare] ?? text)
  return /^~(?=$|[\\/])/.test(named) ? join(homedir(), named.slice(1)) : named
}
