import type {
  BlockId,
  HiddenDistanceOptions,
  LossArithmetic,
  OutputDistance,
  PruningPlan,
  Span,
  SpanMeasure,
  TokenRows,
} from '../types.ts'

/** What the engine and its worker thread say to each other. */
export interface WorkerData {
  readonly id: string
  readonly path: string
  readonly applied: readonly PruningPlan[]
  readonly threads: number | undefined
  /** One more than the number of the call to abort. */
  readonly abortFlag: Int32Array
}

export type EngineRequest =
  | { readonly type: 'rows'; readonly call: -1; readonly number: number; readonly rows: TokenRows }
  | {
      readonly type: 'tokenLosses'
      readonly call: number
      readonly rows: number
      readonly plans: readonly PruningPlan[]
      readonly ignored: number | undefined
      readonly trunk: PruningPlan | undefined
      readonly arithmetic: LossArithmetic | undefined
    }
  | {
      readonly type: 'hiddenDistances'
      readonly call: number
      readonly rows: number
      readonly plans: readonly PruningPlan[]
      readonly measure: HiddenDistanceOptions['measure']
    }
  | {
      readonly type: 'outputDistances'
      readonly call: number
      readonly rows: number
      readonly plans: readonly PruningPlan[]
      readonly measure: OutputDistance
      readonly topK: number | undefined
      readonly trunk: PruningPlan | undefined
    }
  | {
      readonly type: 'similarities'
      readonly call: number
      readonly rows: number
      readonly spans: readonly Span[]
      readonly measure: SpanMeasure
    }
  | {
      readonly type: 'channelStatistics'
      readonly call: number
      readonly rows: number
      readonly blocks: readonly BlockId[]
    }
  | {
      readonly type: 'passSeconds'
      readonly call: number
      readonly rows: number
      readonly plans: readonly PruningPlan[]
      readonly repeats: number
    }
  | { readonly type: 'hiddenStates'; readonly call: number; readonly rows: number; readonly plan: PruningPlan }
  | { readonly type: 'logits'; readonly call: number; readonly rows: number; readonly plan: PruningPlan }
  | { readonly type: 'firstNonFinite'; readonly call: number; readonly rows: number }

export type EngineResponse =
  | { readonly type: 'losses'; readonly call: number; readonly plan: number; readonly losses: Float64Array }
  | { readonly type: 'result'; readonly call: number; readonly result: unknown }
  | {
      readonly type: 'failure'
      readonly call: number
      readonly name: string
      readonly message: string
      readonly stack: string | undefined
    }
