import type { Device } from './device.ts'
import { type Provider, providerDevice } from './provider.ts'

/**
 * WebGPU, which the package of the runtime brings along: Vulkan on Linux, Direct3D on Windows, Metal on macOS. Weights and states stay
 * on the device. onnxruntime 1.30's fused attention is wrong there from 32 tokens on, so attention is computed from primitives.
 */
const webgpu: Provider = {
  name: 'webgpu',
  portable: true,
  keepsOutputs: true,
  explain(message) {
    if (/adapter|No supported adapters/i.test(message)) {
      return 'this machine offers no WebGPU adapter, expected a graphics card with its Vulkan driver (Linux), Direct3D 12 or Metal; install the driver, or take --device cpu'
    }
    if (/not (supported|available|found)|execution provider|backend/i.test(message)) {
      return 'this build of onnxruntime-node has no WebGPU provider, expected one for Linux x64, Windows or macOS; take --device cpu'
    }
    return undefined
  },
}

/** The WebGPU device of this machine. Throws `EngineError` where it has none. */
export const webgpuDevice = (): Promise<Device> => providerDevice(webgpu)
