/** Arrays of float32 that are used again: what comes and goes by the hundred in few sizes would be garbage to collect. */
export interface FloatPool {
  /** An array of `length` numbers, whatever they are. */
  take(length: number): Float32Array<ArrayBuffer>
  give(values: Float32Array): void
  clear(): void
}

/** An empty pool; `maxSizes`: different lengths kept. Four are those of the batches in flight, the last of them being shorter. */
export function floatPool(maxSizes = 4): FloatPool {
  const free = new Map<number, Float32Array<ArrayBuffer>[]>()
  return {
    take: (length) => free.get(length)?.pop() ?? new Float32Array(length),
    give(values) {
      const { length } = values
      const ofSize = free.get(length) ?? []
      ofSize.push(values as Float32Array<ArrayBuffer>)
      // the size used last comes last
      free.delete(length)
      free.set(length, ofSize)
      if (free.size > maxSizes) free.delete(free.keys().next().value!)
    },
    clear: () => free.clear(),
  }
}
