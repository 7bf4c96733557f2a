import { type DeviceChoice, type DeviceName, deviceChoices } from '../deviceNames.ts'
import { EngineError } from '../errors.ts'
import type { Model } from '../model/model.ts'
import type { SelfTest } from './selfTest.ts'
import { type EngineOptions, engineOptionsOf } from './threadEngine.ts'

export interface ChosenDevice {
  readonly device: DeviceName
  /** Why, in one line for people. */
  readonly text: string
}

/**
 * The device that `choice` means for `model`. `auto`: the fastest of those that compute its parts as the CPU does. Any other is taken at
 * its word, and tested. Throws `EngineError` where it is not there, or fails the test.
 */
export async function chooseDevice(model: Model, choice: DeviceChoice, threads?: number): Promise<ChosenDevice> {
  if (!deviceChoices.includes(choice)) {
    throw new EngineError(`--device ${choice}: is not known, expected one of ${deviceChoices.join(', ')}`)
  }
  if (choice === 'cpu') return { device: 'cpu', text: 'cpu' }
  if (choice !== 'auto') return { device: choice, text: passed(choice, await tested(model, choice, threads)) }
  const notes: string[] = []
  let fastest: { device: DeviceName; seconds: number; text: string } | undefined
  for (const device of ['cuda', 'webgpu'] as const) {
    try {
      const test = await tested(model, device, threads)
      const { seconds } = test
      notes.push(passed(device, test))
      const isFaster = seconds.device < seconds.cpu && seconds.device < (fastest?.seconds ?? Number.POSITIVE_INFINITY)
      if (isFaster) fastest = { device, seconds: seconds.device, text: passed(device, test) }
    } catch (error) {
      if (!(error instanceof EngineError)) throw error
      notes.push(error.message)
    }
  }
  if (fastest !== undefined) return fastest
  return { device: 'cpu', text: `cpu; ${notes.join('; ')}` }
}

/**
 * The options of an engine for `model` among those of a request, with the device that is meant, tested. `report` gets a line about it,
 * unless it is the CPU that was asked for. Throws as `chooseDevice` does.
 */
export async function testedOptions(
  model: Model,
  request: EngineOptions,
  report?: (text: string) => void,
): Promise<EngineOptions> {
  const options = engineOptionsOf(request)
  const { device: choice = 'cpu', threads } = options
  const { device, text } = await chooseDevice(model, choice, threads)
  if (choice !== 'cpu') report?.(text)
  return device === 'cpu' ? { ...options, device: undefined } : { ...options, device, isDeviceTested: true }
}

/** The self-test on a device of its own, whose memory is given back. */
async function tested(model: Model, name: DeviceName, threads: number | undefined): Promise<SelfTest> {
  // the runtime is loaded in this thread for a test alone
  const [{ openDevice }, { selfTest }] = await Promise.all([import('../device/open.ts'), import('./selfTest.ts')])
  const device = await openDevice(name, { threads })
  try {
    return await selfTest(model, device, threads)
  } finally {
    await device.close()
  }
}

function passed(name: DeviceName, { errors, seconds }: SelfTest): string {
  const worst = Math.max(...errors.map(({ error }) => error))
  const times = seconds.cpu / seconds.device
  return (
    `${name}: differs from the CPU by at most ${worst.toExponential(1)} in ${errors.length} parts, ` +
    `${times.toFixed(times < 10 ? 2 : 0)} x its speed on the test`
  )
}
