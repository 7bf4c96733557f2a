/** Arrays of float32 that are used again: what comes and goes by the hundred in few sizes would be garbage to collect. */
export interface FloatPool {
  /** An array of `length` numbers, whatever they are. */
  take(length: number): Float32Array<ArrayBuffer>
  give(values: Float32Array): void
  /** Forgets what was given back. */
  clear(): void
}

/**
 * Arrays are cut from pieces of memory this large. The system's allocator maps such a piece by itself and unmaps it when it is let go;
 * smaller ones it keeps for the process, however much is free (glibc: all below 32 MiB, once the first was freed).
 */
const slabBytes = 40 * 2 ** 20

/** Smaller arrays are not worth a place in a slab. */
const leastBytes = 2 ** 16

/** An empty pool; `maxSizes`: different lengths kept. Four are those of the batches in flight, the last of them being shorter. */
export function floatPool(maxSizes = 4): FloatPool {
  const free = new Map<number, Float32Array<ArrayBuffer>[]>()
  let slab: ArrayBuffer | undefined
  let used = 0

  function cut(length: number): Float32Array<ArrayBuffer> {
    const bytes = length * 4
    if (bytes < leastBytes || bytes > slabBytes / 4) return new Float32Array(length)
    if (slab === undefined || used + bytes > slabBytes) {
      slab = new ArrayBuffer(slabBytes)
      used = 0
    }
    const values = new Float32Array(slab, used, length)
    // the runtime's kernels read whole cache lines
    used += Math.ceil(bytes / 64) * 64
    return values
  }

  return {
    take: (length) => free.get(length)?.pop() ?? cut(length),
    give(values) {
      const { length } = values
      const ofSize = free.get(length) ?? []
      ofSize.push(values as Float32Array<ArrayBuffer>)
      // the size used last comes last
      free.delete(length)
      free.set(length, ofSize)
      if (free.size > maxSizes) free.delete(free.keys().next().value!)
    },
    clear() {
      free.clear()
      slab = undefined
    },
  }
}
