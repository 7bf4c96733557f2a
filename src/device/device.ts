import type { DeviceName } from '../deviceNames.ts'
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
  readonly name: DeviceName
  /** How attention is to be computed here: the fused kernels are wrong or absent on some devices. */
  readonly kernel: 'fused' | 'primitives'
  /** The tensor of `dims` that `values` are, row-major. The device may keep `values` instead of a copy: do not write to them before `free`. */
  upload(type: ElementType, values: HostValues, dims: readonly number[]): Handle
  /**
   * The outputs of `graph`, in its order; the caller frees or takes them. `shape`: rows and tokens. `like`: a tensor with the type and
   * dims of the only output, where one is at hand, so that memory that was freed can be used again. Throws `EngineError` where the
   * runtime fails, naming the graph.
   */
  run(
    graph: Graph,
    shape: readonly [rows: number, tokens: number],
    feeds: Readonly<Record<string, Handle>>,
    like?: Handle,
  ): Promise<Handle[]>
  /** The numbers of a tensor. They are the device's own: read them only, and before `free`. */
  read(handle: Handle): Promise<HostValues>
  /** The numbers of a tensor that nobody reads any more: they are the caller's from here on. */
  take(handle: Handle): Promise<HostValues>
  /** Says that nobody reads the tensor any more. Its memory may be written to at once. */
  free(handle: Handle): void
  /** Gives back memory that was freed and is kept to be used again. */
  trim(): void
  close(): Promise<void>
}

/** `read` of a float32 tensor. */
export async function readFloats(device: Device, handle: Handle): Promise<Float32Array> {
  checkFloats(handle)
  return (await device.read(handle)) as Float32Array
}

/** `take` of a float32 tensor. */
export async function takeFloats(device: Device, handle: Handle): Promise<Float32Array> {
  checkFloats(handle)
  return (await device.take(handle)) as Float32Array
}

function checkFloats({ type }: Handle): void {
  if (type !== 'float32') throw new RangeError(`a tensor of ${type}, expected float32`)
}
