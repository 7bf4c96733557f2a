import type { PackedRows } from '../data/calibration.ts'
import type { EngineOptions } from '../engine/threadEngine.ts'
import type { Comparison } from '../evaluate/compare.ts'
import type { MethodOptions } from '../methods/options.ts'
import type { MethodName, OptionsByMethod } from '../methods/registry.ts'
import type { Model } from '../model/model.ts'
import type { Task } from '../model/task.ts'
import type { BlockKind, LossArithmetic, StopSignal } from '../types.ts'
import type { Budget } from './budget.ts'
import type { RowsRequest } from './calibrate.ts'
import type { ExportedFormats } from './exportFormats.ts'
import type { Timer } from './latency.ts'
import type { Format, OtherFormatOptions } from './otherFormats.ts'
import type { OutputNorms } from './outputNorms.ts'
import type { PlanFile } from './planFile.ts'
import type { Protection } from './protection.ts'
import type { Progress } from './prune.ts'
import type { Samples } from './samples.ts'
import type { AnySearchRequest, SearchRequest } from './searchRequest.ts'

/** What a run is asked for, its method and search by names that are looked up when it begins. */
export interface AnyPruneRequest extends Protection, EngineOptions {
  /** Folder, .gguf file or hub id. */
  readonly model: string
  readonly revision?: string | undefined
  /** Run directory. */
  readonly output: string
  /** A name of `blockpruner methods`; default BlockPruner. */
  readonly method?: string | undefined
  /** Options of the method, by the names that its list gives them. */
  readonly methodOptions?: MethodOptions | undefined
  /** How BlockPruner's plan is searched and what is compared; default `fast`, `exact` is the loop as published. */
  readonly searching?: AnySearchRequest | undefined
  /** Kinds of blocks that may go; default all that the model has. */
  readonly kinds?: readonly BlockKind[] | undefined
  /** What becomes of the norm behind a removed branch, where there is one; default keep. */
  readonly outputNorms?: OutputNorms | undefined
  /** Default a tenth of the parameters. `all`: a ranking of all that the method may remove, from which any smaller budget can be cut. */
  readonly budget?: Budget | { readonly remove: 'all' } | undefined
  readonly calibration: RowsRequest
  /** A text to measure the dense and the pruned model on, for the card and the result. */
  readonly evaluation?: RowsRequest | undefined
  readonly seed: number
  /** How the loss of a token is summed: `released` reproduces numbers of the authors' code; default `precise`. */
  readonly arithmetic?: LossArithmetic | undefined
  /** What a budget of speed is measured by; default passes on this machine. */
  readonly timer?: Timer | undefined
  /** Sample continuations of a decoder, dense beside pruned, 0 to 5; default 0. */
  readonly continuations?: number | 'ifAny' | undefined
  /** Write the pruned checkpoint to `output`/model; default true. */
  readonly export?: boolean | undefined
  /** Formats of the checkpoint; default huggingface. */
  readonly formats?: readonly Format[] | undefined
  readonly quantize?: OtherFormatOptions['quantize']
  readonly dtypes?: OtherFormatOptions['dtypes']
  readonly attention?: OtherFormatOptions['attention']
  /** Replace what stands in the places of the exports, whatever it is. */
  readonly force?: boolean | undefined
  /** Open the exports in the software that is installed; default true. */
  readonly verify?: boolean | undefined
  readonly signal?: StopSignal | undefined
  readonly onProgress?: ((progress: PruneProgress) => void) | undefined
}

/** The options of a method; of one that has none, an empty object and no other. */
type OwnOptions<Name extends MethodName> = keyof OptionsByMethod[Name] extends never
  ? Readonly<Record<string, never>>
  : OptionsByMethod[Name]

/** A method with its own options: those of another do not compile. */
type MethodRequest =
  | { readonly method?: undefined; readonly methodOptions?: undefined }
  | {
      readonly [Name in MethodName]: {
        readonly method: Name
        readonly methodOptions?: OwnOptions<Name> | undefined
      }
    }[MethodName]

/** What `pruneModel` is asked for. */
export type PruneModelRequest = Omit<AnyPruneRequest, 'method' | 'methodOptions' | 'searching'> &
  MethodRequest & { readonly searching?: SearchRequest | undefined }

export type PruneProgress =
  | Progress
  | {
      readonly type: 'loaded'
      readonly model: Model
      readonly rows: PackedRows
      readonly task: Task
      readonly budget: Budget
      /** Blocks that may go. */
      readonly candidates: number
    }
  /** What the method keeps in memory besides weights and states. */
  /** How memory is shared between weights and states. */
  | { readonly type: 'device' | 'memory'; readonly text: string }
  | { readonly type: 'keeping'; readonly bytes: number }
  /** Sample continuations are being written. */
  | { readonly type: 'sampling'; readonly share: number }
  | { readonly type: 'consumer'; readonly line: string }
  | { readonly type: 'exporting'; readonly writtenBytes: number; readonly totalBytes: number }

/** Exports are absent where none was asked for. */
export interface PruneModelResult extends Partial<ExportedFormats> {
  readonly file: PlanFile
  readonly planPath: string
  /** Dense and pruned model on the evaluation text. */
  readonly evaluation?: Evaluated | undefined
  readonly samples?: Samples | undefined
}

/** Dense and pruned model on a text that the search never saw. */
export type Evaluated = Comparison & { readonly source: string }
