import type { TokenRows } from '../types.ts'
import type { PredictionKind } from './predictions.ts'

/** Software that loads exports. */
export interface Consumer {
  /** As its users call it. */
  readonly name: string
  readonly formats: readonly ExportFormat[]
  /** Scores `rows` with the export, or says why it cannot be asked here. */
  score(request: ScoreRequest): Promise<Scored>
}

export type ExportFormat = 'huggingface' | 'gguf' | 'onnx' | 'nemotron' | 'mergekit'

export interface ScoreRequest {
  /** The folder, or the .gguf file. */
  readonly path: string
  /** Of an ONNX folder, which of its models: fp32, fp16, q8 or q4. */
  readonly dtype?: string | undefined
  readonly rows: TokenRows
  readonly prediction: PredictionKind
  /** Values of one prediction. */
  readonly width: number
  /** Folders in whose node_modules to look for the software, before the package's own and the current one. */
  readonly modulesFrom: readonly string[]
}

export type Scored =
  /** (N, width) logits or states, logits each row with its own unknown constant. */
  | { readonly logits: Float32Array; readonly version: string }
  /** Not installed, or not for this kind of export. */
  | { readonly skipped: string }
  /** It was there and could not load or compute the export. */
  | { readonly failed: string }
