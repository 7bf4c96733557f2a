import * as ort from 'onnxruntime-node'
import type { DeviceName } from '../deviceNames.ts'
import { EngineError } from '../errors.ts'
import { encodeOnnx } from '../format/onnx/encode.ts'
import type { Graph } from '../graph/graph.ts'
import type { ElementType } from '../graph/operations.ts'
import { graphToOnnx, opsets } from '../graph/toOnnx.ts'
import type { Device, Handle, HostValues } from './device.ts'

/** A provider of the runtime other than its CPU. */
export interface Provider {
  readonly name: Exclude<DeviceName, 'cpu'>
  /** Whether graphs must be written with the operators that all providers have. */
  readonly portable: boolean
  /** Whether the outputs of a run can stay in the memory of the device. */
  readonly keepsOutputs: boolean
  /** What a message of the runtime means to who asked for the device: what was expected, and the cure. */
  explain(message: string): string | undefined
}

// what the runtime reports it also throws, and then it has a cure
ort.env.logLevel = 'fatal'

/** Smaller tensors travel with each run: to keep them takes a run of its own. */
const leastKeptBytes = 2 ** 14

/** A tensor: in memory of this process until a run first reads it, in that of the device from then on. */
class DeviceTensor implements Handle {
  readonly type: ElementType
  readonly dims: readonly number[]
  tensor: ort.Tensor | undefined

  constructor(tensor: ort.Tensor) {
    this.type = tensor.type as ElementType
    this.dims = tensor.dims
    this.tensor = tensor
  }
}

/** The runtime on one of its providers, attention from primitives. Throws `EngineError` where the provider cannot be opened. */
export async function providerDevice(provider: Provider): Promise<Device> {
  const { name, portable, keepsOutputs } = provider
  const toHost: ort.InferenceSession.SessionOptions = {
    executionProviders: [name],
    // that some operators stay on the CPU is known
    logSeverityLevel: 3,
    graphOptimizationLevel: 'all',
  }
  const toDevice = keepsOutputs ? { ...toHost, preferredOutputLocation: 'gpu-buffer' as const } : toHost
  const sessions = new Map<Graph, Promise<ort.InferenceSession>>()
  const copies = copiesBy(toHost, toDevice)
  const memory = memoryOf(copies, keepsOutputs)
  try {
    // opens the provider
    memory.free(memory.hold(await copies.copy(new ort.Tensor('float32', Float32Array.of(1, 2), [2]), 'device')))
  } catch (cause) {
    throw failure(provider, '', cause)
  }
  return {
    name,
    kernel: 'primitives',
    upload: (type, values, dims) => memory.hold(new ort.Tensor(type, values as Float32Array, dims)),
    async run(graph, _, feeds) {
      const names = graph.outputs.map(({ value }) => value.name)
      const session = sessions.get(graph) ?? ort.InferenceSession.create(graphToOnnx(graph, { portable }), toDevice)
      sessions.set(graph, session)
      try {
        const tensors: Record<string, ort.Tensor> = {}
        for (const [input, handle] of Object.entries(feeds)) {
          tensors[input] = await memory.resident(handle).catch((cause) => {
            throw failure(provider, `${input} (${handle.dims}) of ${graph.name}: `, cause)
          })
        }
        const results = await (await session).run(tensors, names)
        return names.map((output) => memory.hold(results[output]!))
      } catch (cause) {
        if (cause instanceof EngineError) throw cause
        throw failure(provider, `${graph.name}: the runtime failed: `, cause)
      }
    },
    read: memory.read,
    async take(handle) {
      const values = await memory.read(handle)
      memory.free(handle)
      return values
    },
    free: memory.free,
    trim() {},
    async close() {
      memory.clear()
      await Promise.all([...sessions.values()].map(async (session) => (await session).release()))
      sessions.clear()
      await copies.close()
    },
  }
}

/** The tensors that were neither freed nor taken, and where they are. */
function memoryOf(copies: ReturnType<typeof copiesBy>, keeps: boolean) {
  const alive = new Set<DeviceTensor>()

  function free(handle: Handle): void {
    const tensor = tensorOf(handle)
    alive.delete(handle as DeviceTensor)
    ;(handle as DeviceTensor).tensor = undefined
    if (tensor.location !== 'cpu') tensor.dispose()
  }

  return {
    hold(tensor: ort.Tensor): Handle {
      const handle = new DeviceTensor(tensor)
      alive.add(handle)
      return handle
    },
    /** What a run reads: in the memory of the device from now on where it is worth that. */
    async resident(handle: Handle): Promise<ort.Tensor> {
      const tensor = tensorOf(handle)
      const isSmall = tensor.type !== 'float32' || tensor.size * 4 < leastKeptBytes
      if (!keeps || tensor.location !== 'cpu' || isSmall) return tensor
      const moved = await copies.copy(tensor, 'device')
      ;(handle as DeviceTensor).tensor = moved
      return moved
    },
    async read(handle: Handle): Promise<HostValues> {
      const tensor = tensorOf(handle)
      // `getData` of a tensor in the memory of the device ends the process
      const onHost = tensor.location === 'cpu' ? tensor : await copies.copy(tensor, 'host')
      return onHost.data as HostValues
    },
    free,
    clear(): void {
      for (const handle of [...alive]) free(handle)
    },
  }
}

function failure(provider: Provider, what: string, cause: unknown): Error {
  if (cause instanceof RangeError) return cause
  const { message } = cause as Error
  const known = explain(provider, message)
  const text = known ?? `${message.trim()}; take --device cpu`
  return new EngineError(`--device ${provider.name}: ${what}${text}`, { cause })
}

function tensorOf(handle: Handle): ort.Tensor {
  const { tensor } = handle as DeviceTensor
  if (tensor === undefined) throw new RangeError(`a tensor of (${handle.dims}) that was freed is read`)
  return tensor
}

/** Copies of tensors to the device and from it, by a session for each type and rank: the runtime offers no other way than an operator. */
function copiesBy(toHost: ort.InferenceSession.SessionOptions, toDevice: ort.InferenceSession.SessionOptions) {
  const sessions = new Map<string, Promise<ort.InferenceSession>>()
  return {
    async copy(tensor: ort.Tensor, to: 'device' | 'host'): Promise<ort.Tensor> {
      const [type, rank] = [tensor.type as ElementType, tensor.dims.length]
      const key = `${type} ${rank} ${to}`
      const session =
        sessions.get(key) ?? ort.InferenceSession.create(identity(type, rank), to === 'device' ? toDevice : toHost)
      sessions.set(key, session)
      const { y } = await (await session).run({ x: tensor })
      return y!
    },
    async close() {
      await Promise.all([...sessions.values()].map(async (session) => (await session).release()))
      sessions.clear()
    },
  }
}

function explain(provider: Provider, message: string): string | undefined {
  const tooLarge = /exceeds the max buffer size limit \((\d+)\)/.exec(message)
  if (tooLarge !== null) {
    return `a tensor is larger than the device allows, ${Math.floor(Number(tooLarge[1]) / 2 ** 20)} MiB; take --device cpu`
  }
  if (/out of memory|failed to allocate|OOM/i.test(message)) {
    return 'the memory of the device is too small for the weights and the states; take fewer or shorter rows, or --device cpu'
  }
  return provider.explain(message)
}

/** A graph that copies its only input of `rank` axes. */
function identity(type: ElementType, rank: number): Uint8Array {
  const dims = Array.from({ length: rank }, (_, axis) => `N${axis}`)
  return encodeOnnx({
    name: 'copy',
    opsets,
    nodes: [{ type: 'Identity', inputs: ['x'], outputs: ['y'] }],
    initializers: [],
    inputs: [{ name: 'x', type, dims }],
    outputs: [{ name: 'y', type, dims }],
  })
}
