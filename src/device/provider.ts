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

/**
 * The runtime on one of its providers, attention from primitives. Handles count: one that was freed is refused, and what `alive`
 * counts is held in memory of the device. Throws `EngineError` where the provider cannot be opened.
 */
export async function providerDevice(provider: Provider): Promise<Device & { readonly alive: number }> {
  const { name, portable, keepsOutputs } = provider
  const options: ort.InferenceSession.SessionOptions = {
    executionProviders: [name],
    // that some operators stay on the CPU is known
    logSeverityLevel: 3,
    graphOptimizationLevel: 'all',
  }
  const kept: ort.InferenceSession.SessionOptions = keepsOutputs
    ? { ...options, preferredOutputLocation: 'gpu-buffer' }
    : options
  const sessions = new Map<Graph, Promise<ort.InferenceSession>>()
  const copies = new Map<string, Promise<ort.InferenceSession>>()
  const alive = new Set<DeviceTensor>()

  const failure = (what: string, cause: unknown) => {
    if (cause instanceof RangeError) return cause
    const { message } = cause as Error
    const known = explain(provider, message)
    return new EngineError(`--device ${name}: ${what}${known ?? `${message.trim()}; take --device cpu`}`, { cause })
  }

  /** The same numbers in the memory of the device, or of this process: the runtime offers no other way than an operator. */
  async function copied(tensor: ort.Tensor, to: 'device' | 'host'): Promise<ort.Tensor> {
    const rank = tensor.dims.length
    const key = `${tensor.type} ${rank} ${to}`
    const session =
      copies.get(key) ??
      ort.InferenceSession.create(identity(tensor.type as ElementType, rank), to === 'device' ? kept : options)
    copies.set(key, session)
    const { y } = await (await session).run({ x: tensor })
    return y!
  }

  function tensorOf(handle: Handle): ort.Tensor {
    const { tensor } = handle as DeviceTensor
    if (tensor === undefined) throw new RangeError(`a tensor of (${handle.dims}) that was freed is read`)
    return tensor
  }

  function handleOf(tensor: ort.Tensor): DeviceTensor {
    const handle = new DeviceTensor(tensor)
    alive.add(handle)
    return handle
  }

  async function resident(handle: Handle): Promise<ort.Tensor> {
    const tensor = tensorOf(handle)
    const bytes = tensor.size * 4
    if (!keepsOutputs || tensor.location !== 'cpu' || tensor.type !== 'float32' || bytes < leastKeptBytes) return tensor
    const moved = await copied(tensor, 'device')
    ;(handle as DeviceTensor).tensor = moved
    return moved
  }

  async function valuesOf(handle: Handle): Promise<HostValues> {
    const tensor = tensorOf(handle)
    // `getData` of a tensor in the memory of the device ends the process
    const onHost = tensor.location === 'cpu' ? tensor : await copied(tensor, 'host')
    return onHost.data as HostValues
  }

  function free(handle: Handle): void {
    const tensor = tensorOf(handle)
    alive.delete(handle as DeviceTensor)
    ;(handle as DeviceTensor).tensor = undefined
    if (tensor.location !== 'cpu') tensor.dispose()
  }

  const device = {
    name,
    kernel: 'primitives' as const,
    get alive() {
      return alive.size
    },
    upload: (type: ElementType, values: HostValues, dims: readonly number[]) =>
      handleOf(new ort.Tensor(type, values as Float32Array, dims)),
    async run(
      graph: Graph,
      _: readonly [rows: number, tokens: number],
      feeds: Readonly<Record<string, Handle>>,
    ): Promise<Handle[]> {
      const names = graph.outputs.map(({ value }) => value.name)
      const session = sessions.get(graph) ?? ort.InferenceSession.create(graphToOnnx(graph, { portable }), kept)
      sessions.set(graph, session)
      try {
        const tensors: Record<string, ort.Tensor> = {}
        for (const [input, handle] of Object.entries(feeds)) {
          tensors[input] = await resident(handle).catch((cause) => {
            throw failure(`${input} (${handle.dims}) of ${graph.name}: `, cause)
          })
        }
        const results = await (await session).run(tensors, names)
        return names.map((output) => handleOf(results[output]!))
      } catch (cause) {
        if (cause instanceof RangeError || cause instanceof EngineError) throw cause
        throw failure(`${graph.name}: the runtime failed: `, cause)
      }
    },
    read: valuesOf,
    async take(handle: Handle) {
      const values = await valuesOf(handle)
      free(handle)
      return values
    },
    free,
    trim() {},
    async close() {
      for (const handle of [...alive]) free(handle)
      const made = [...sessions.values(), ...copies.values()]
      await Promise.all(made.map(async (session) => (await session).release()))
      sessions.clear()
      copies.clear()
    },
  }

  try {
    const probe = device.upload('float32', Float32Array.of(1, 2), [2])
    const [echoed] = await copied(tensorOf(probe), 'device').then((moved) => [handleOf(moved)])
    await device.take(echoed!)
    device.free(probe)
  } catch (cause) {
    throw failure('', cause)
  }
  return device
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
