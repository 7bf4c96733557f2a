import type { Device } from './device.ts'
import { type Provider, providerDevice } from './provider.ts'

/** Installs what the package leaves out: its script loads the runtime's CUDA libraries, which a configuration may forbid it to. */
const install = 'ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node --ignore-scripts=false'

/**
 * CUDA 12, on Linux x64. The runtime's JavaScript interface keeps outputs of WebGPU alone on the device: here weights and states
 * travel with each run. Its fused attention takes half precision alone, so attention is computed from primitives.
 */
const cuda: Provider = {
  name: 'cuda',
  portable: false,
  keepsOutputs: false,
  explain(message) {
    if (/Failed to load shared library|libonnxruntime_providers|not (supported|available)|backend/i.test(message)) {
      return (
        'the CUDA libraries of the runtime are not installed or do not load, expected them beside onnxruntime-node, ' +
        `and CUDA 12 with cuDNN 9 on this machine; run \`${install}\` (Linux x64), or take --device cpu`
      )
    }
    if (/CUDA (failure|error)|no CUDA-capable device|driver/i.test(message)) {
      return 'the CUDA driver refused, expected a graphics card of NVIDIA and a driver for CUDA 12; see nvidia-smi, or take --device cpu'
    }
    return undefined
  },
}

/** The first CUDA device of this machine. Throws `EngineError` where it has none, or no libraries for it. */
export const cudaDevice = (): Promise<Device> => providerDevice(cuda)
