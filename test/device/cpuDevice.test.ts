import { cpuDevice } from '../../src/device/cpu.ts'
import { deviceSuite } from './deviceSuite.ts'

deviceSuite('cpu', { open: async () => cpuDevice({ threads: 1 }), error: 0 })
