import { channelStatistics } from './channelStatistics.ts'
import { hiddenStates, logits } from './finalStates.ts'
import { firstNonFinite } from './firstNonFinite.ts'
import { hiddenDistance } from './hiddenDistance.ts'
import { lastLogits } from './lastLogits.ts'
import type { Measure } from './machine.ts'
import { outputDistance } from './outputDistance.ts'
import { passSeconds } from './passSeconds.ts'
import { similarity } from './similarity.ts'
import { tokenLoss } from './tokenLoss.ts'

/** Every measure by its name in a measurement. A new one is a file and a line here. */
export const measures = {
  tokenLoss,
  hiddenDistance,
  outputDistance,
  similarity,
  channelStatistics,
  passSeconds,
  hiddenStates,
  logits,
  lastLogits,
  firstNonFinite,
} as const

/** Options and result of each measure, by its name. */
export type Measures = {
  readonly [Name in keyof typeof measures]: (typeof measures)[Name] extends Measure<infer Options, infer Result>
    ? { readonly options: unknown extends Options ? Record<never, never> : Options; readonly result: Result }
    : never
}

export type MeasureName = keyof Measures
