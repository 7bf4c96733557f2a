import type { Chunk, State } from '../measures/machine.ts'
import type { TokenRows } from '../types.ts'
import type { Edit } from './edit.ts'
import type { Lifetimes } from './lifetimes.ts'
import { type PrefixCache, prefixCache } from './walk/prefixCache.ts'

/** The states remembered of chunks of rows, as many as memory allows. */
export interface RememberedChunks {
  /** The cache of a chunk whose states after all stages take `bytes`. */
  of(rows: TokenRows, chunk: Chunk, bytes: number): PrefixCache<State, Edit>
  clear(): void
}

/** Nothing remembered yet; those walked longest ago are forgotten where all together need more than `mostBytes`. */
export function rememberedChunks(mostBytes: number, lifetimes: Lifetimes): RememberedChunks {
  interface Entry {
    readonly rows: TokenRows
    readonly start: number
    readonly bytes: number
    readonly cache: PrefixCache<State, Edit>
  }
  /** The latest first. */
  let entries: readonly Entry[] = []
  return {
    of(rows, { start }, bytes) {
      const known = entries.find((entry) => entry.rows === rows && entry.start === start)
      const latest = known ?? { rows, start, bytes, cache: prefixCache<State, Edit>(lifetimes) }
      let total = 0
      entries = [latest, ...entries.filter((entry) => entry !== latest)].filter((entry) => {
        total += entry.bytes
        const stays = entry === latest || total <= mostBytes
        if (!stays) entry.cache.clear()
        return stays
      })
      return latest.cache
    },
    clear() {
      for (const { cache } of entries) cache.clear()
    },
  }
}
