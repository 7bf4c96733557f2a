import { OutputError } from '../errors.ts'
import { type ExportRecord, exportRecord } from '../export/exportRecord.ts'
import type { OnnxDtype } from '../export/onnxProducts.ts'
import { applyPlan } from '../model/applyPlan.ts'
import { openModel } from '../model/load.ts'
import type { Model } from '../model/model.ts'
import type { PruningPlan } from '../types.ts'
import { type ExportedFiles, exportedFiles } from './exportedFiles.ts'
import { compareMergekit, compareNemotron, compareOnnx } from './sameFiles.ts'
import { compareTokenizer } from './sameTokenizer.ts'
import { compareWeights, type WeightsCompared } from './sameWeights.ts'

/** An export whose record, structure and weights are those of its plan. */
export interface CheckedContents {
  /** It says of itself what it was made from. */
  readonly isRecorded: boolean
  /** Ids of a text for which its tokenizer agrees with the model's; 0: not asked. */
  readonly ids: number
  /** Tensors compared value by value or byte by byte. */
  readonly tensors: number
  /** Of an export that our reader opens. */
  readonly weights?: WeightsCompared | undefined
}

export interface ContentsOptions {
  /** Accept an export that was made of other files than `model`'s: the same model in another format. */
  readonly allowOtherModel?: boolean | undefined
}

/**
 * Checks, before anything is run, that the export at `path` is that of `plan`: what it records of its plan and model, its blocks
 * and widths, and every weight up to the type it is stored as. Throws `OutputError` that says what differs.
 */
export async function checkContents(
  path: string,
  model: Model,
  plan: PruningPlan,
  options: ContentsOptions = {},
  files?: ExportedFiles,
): Promise<CheckedContents> {
  const { format, variants, record } = files ?? (await exportedFiles(path))
  const asked = await exportRecord(model, plan)
  if (record !== undefined) checkRecord(path, record, asked, options)
  const isRecorded = record !== undefined
  const ids = await compareTokenizer(path, format, model)
  if (format === 'nemotron') return { isRecorded, ids, tensors: await compareNemotron(path, model, plan) }
  if (format === 'mergekit') {
    await compareMergekit(path, model, plan)
    return { isRecorded, ids, tensors: 0 }
  }
  if (format === 'onnx') {
    let tensors = 0
    for (const dtype of variants) {
      tensors += await compareOnnx(path, model, plan, dtype as OnnxDtype, record, asked.version)
    }
    return { isRecorded, ids, tensors }
  }
  const found = await openModel(path, path)
  try {
    const weights = await compareWeights(path, applyPlan(model, plan), found)
    return { isRecorded, ids, tensors: weights.names.size, weights }
  } finally {
    await found.weights.close()
  }
}

function checkRecord(path: string, found: ExportRecord, asked: ExportRecord, { allowOtherModel }: ContentsOptions) {
  if (found.sourceSha256 !== asked.sourceSha256 && !allowOtherModel) {
    throw new OutputError(
      `${path}: says that it was made of another model (sha256 ${found.sourceSha256.slice(0, 12)}…, expected ${asked.sourceSha256.slice(0, 12)}…); ` +
        'give the model that it was made of, or --allow-other-model if it is the same in another format',
    )
  }
  if (found.planSha256 === asked.planSha256) return
  throw new OtherPlanError(
    `${path}: says that it was made of another plan (sha256 ${found.planSha256.slice(0, 12)}…, expected ${asked.planSha256.slice(0, 12)}…)`,
    found.planSha256,
  )
}

/** An export says that it is of another plan; which one it may be, a caller that knows several can tell. */
export class OtherPlanError extends OutputError {
  readonly planSha256: string

  constructor(message: string, planSha256: string) {
    super(message)
    this.planSha256 = planSha256
  }
}

/** One line for people. */
export function describeContents({ isRecorded, ids, tensors, weights }: CheckedContents): string {
  const made = isRecorded ? 'its plan and model are those given' : 'says nothing of its plan and model'
  const said = ids === 0 ? made : `${made}; its tokenizer gives the same ${ids} ids`
  if (weights === undefined) return `${said}; ${tensors} tensors are the plan's, byte for byte`
  const { equal, rounded, near } = weights
  const parts = [
    `${equal} exactly`,
    ...(rounded > 0 ? [`${rounded} rounded to the type they are stored as`] : []),
    ...(near > 0 ? [`${near} within the rounding of theirs`] : []),
  ]
  return `${said}; of ${tensors} tensors the plan's values stand in ${parts.join(', in ')}`
}
