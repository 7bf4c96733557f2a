import type { Comparison } from '../evaluate/compare.ts'
import type { MeasuredLoss } from '../export/modelCard.ts'
import { publicName } from '../export/publicName.ts'
import type { Engine } from '../measures/measurement.ts'
import type { Objective } from '../types.ts'
import { type ExportedFormats, expectedPredictions, exportFormats, inRunDirectory } from './exportFormats.ts'
import { firstTokens } from './firstTokens.ts'
import type { PlanFile } from './planFile.ts'
import type { Prepared } from './prepare.ts'
import type { AnyPruneRequest, Evaluated } from './pruneRequest.ts'
import { stateSizeObjective } from './stateSize.ts'

/** Writes the checkpoint of a plan in every format asked for, opens each again and asks the software that is installed. */
export async function deliver(
  prepared: Prepared,
  file: PlanFile,
  evaluation: Evaluated | undefined,
  request: AnyPruneRequest,
): Promise<ExportedFormats> {
  const { model, engine, method, task, rows, searchRows, lossOn } = prepared
  const { signal, onProgress } = request
  // hidden states have no loss of their own: what a reopened export is compared by is their size
  const checked = (of: Engine): Objective =>
    task === 'hiddenStates' ? stateSizeObjective(of, searchRows) : lossOn(searchRows, of)
  const lossOfPlan = file.steps.at(-1)?.loss ?? file.dense.loss
  const [expectedLoss = Number.NaN] =
    task === 'hiddenStates' ? await checked(engine).evaluate([file.plan], signal) : [lossOfPlan]
  const shown = firstTokens(searchRows, 2, 64)
  const expected = request.verify === false ? undefined : await expectedPredictions(model, engine, file.plan, shown)
  // the dense weights make room for the export's
  await engine.close()
  return exportFormats(model, file.plan, {
    ...request,
    ...inRunDirectory(model, request),
    check: { engine: prepared.engineOptions, objective: checked, expectedLoss },
    expected,
    huggingFace: {
      method: `${method.title}${method.paper ? ` (${method.paper})` : ''} on ${publicName(rows.description.source)}, ${rows.rows} rows of ${rows.rowLength} tokens`,
      measured: measuredFor(prepared, file, evaluation),
    },
    onConsumer: (line) => onProgress?.({ type: 'consumer', line }),
    onProgress: (writtenBytes, totalBytes) => onProgress?.({ type: 'exporting', writtenBytes, totalBytes }),
  })
}

/** The card's numbers: on the evaluation text where there is one, else on the calibration text, which is named as such. */
function measuredFor(
  { task, rows, evaluation: text }: Prepared,
  file: PlanFile,
  evaluation: Evaluated | undefined,
): MeasuredLoss {
  const { tokens, rowLength, bos, prediction, source: name } = (text?.rows ?? rows).description
  const source = publicName(name)
  const found = evaluation && lossesOf(evaluation)
  return {
    task,
    dataset: found === undefined ? `${source} (the calibration text itself)` : source,
    tokens,
    rowLength,
    startsWithBos: bos === 'every-row',
    ...(prediction !== undefined && { prediction }),
    dense: found?.dense ?? file.dense.loss,
    pruned: found?.pruned ?? file.steps.at(-1)?.loss ?? file.dense.loss,
  }
}

/** The losses of a comparison, as a plan has them: the mean of the rows' means where the head predicts the next token. */
function lossesOf(evaluation: Comparison): { readonly dense: number; readonly pruned: number | undefined } {
  if (evaluation.task === 'hiddenStates') return { dense: 0, pruned: evaluation.pruned.distance }
  if (evaluation.task !== 'nextToken') return { dense: evaluation.dense.loss, pruned: evaluation.pruned?.loss }
  const { dense, pruned } = evaluation
  return { dense: Math.log(dense.sequenceMean), pruned: pruned && Math.log(pruned.sequenceMean) }
}
