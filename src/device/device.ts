import type { Graph } from '../graph/graph.ts'
import type { ElementType } from '../graph/operations.ts'

/** A tensor on a device. Opaque: only the device that made it knows where its numbers are. */
export interface Handle {
  readonly type: ElementType
  readonly dims: readonly number[]
}

/** Numbers in memory of this process, row-major: float32, int32 or int64. */
export type HostValues = Float32Array | Int32Array | BigInt64Array

/** Where graphs run. Everything else knows tensors as handles. */
export interface Device {
  readonly name: string
  /** The tensor of `dims` that `values` are, row-major. The device may keep `values` instead of a copy: do not write to them before `free`. */
  upload(type: ElementType, values: HostValues, dims: readonly number[]): Handle
  /**
   * The outputs of `graph`, in its order; the caller frees them. `shape`: rows and tokens. Throws `EngineError` where the runtime
   * fails, naming the graph.
   */
  run(
    graph: Graph,
    shape: readonly [rows: number, tokens: number],
    feeds: Readonly<Record<string, Handle>>,
  ): Promise<Handle[]>
  /** The numbers of a tensor. They may be the device's own: read them only, and before `free`. */
  read(handle: Handle): Promise<HostValues>
  /** Says that nobody reads the tensor any more. */
  free(handle: Handle): void
  close(): Promise<void>
}

/** The numbers of a float32 tensor. */
export async function readFloats(device: Device, handle: Handle): Promise<Float32Array> {
  if (handle.type !== 'float32') throw new RangeError(`a tensor of ${handle.type}, expected float32`)
  return (await device.read(handle)) as Float32Array
}
