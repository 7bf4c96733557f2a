import { describe, it } from 'vitest'
import { webgpuDevice } from '../../src/device/webgpu.ts'
import { deviceSuite } from '../device/deviceSuite.ts'

const missing = await webgpuDevice().then(
  (device) => device.close(),
  (error: Error) => error.message,
)

// grouped heads and rotary positions; padding and an encoder; cross attention and a position bias; ALiBi; soft caps
const fixtures = ['llama', 'bert', 't5', 'bloom', 'gemma2'].map((name) => `tiny-random/${name}`)

if (missing === undefined) deviceSuite('webgpu', { open: webgpuDevice, fixtures, error: 2e-6 })
else {
  describe('the device webgpu', () => {
    it('computes what the CPU does', ({ skip }) => skip(missing))
  })
}
