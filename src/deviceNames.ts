/** What a model can be computed on. */
export const deviceNames = ['cpu', 'webgpu', 'cuda'] as const
export type DeviceName = (typeof deviceNames)[number]

/** `auto`: the fastest that agrees with the CPU. */
export const deviceChoices = ['auto', ...deviceNames] as const
export type DeviceChoice = (typeof deviceChoices)[number]
