import type { DeviceName } from '../deviceNames.ts'
import { type CpuOptions, cpuDevice } from './cpu.ts'
import { cudaDevice } from './cuda.ts'
import type { Device } from './device.ts'
import { webgpuDevice } from './webgpu.ts'

const openers: Record<DeviceName, (options: CpuOptions) => Promise<Device>> = {
  cpu: async (options) => cpuDevice(options),
  webgpu: webgpuDevice,
  cuda: cudaDevice,
}

/** The device called `name`. Throws `EngineError` where this machine has none. */
export const openDevice = (name: DeviceName, options: CpuOptions = {}): Promise<Device> => openers[name](options)
