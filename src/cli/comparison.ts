import type { Comparison } from '../evaluate/compare.ts'
import type { SentencePooling } from '../evaluate/sentencePooling.ts'
import { taskLosses } from '../model/task.ts'

/** The rows of a table with the columns name, dense and, where there is a plan, pruned. */
export function comparisonRows(comparison: Comparison): string[][] {
  const row = <Report>(name: string, reports: readonly (Report | undefined)[], value: (report: Report) => string) => [
    name,
    ...reports.flatMap((report) => (report === undefined ? [] : [value(report)])),
  ]
  if (comparison.task === 'hiddenStates') {
    const { distance, standardError, embeddings } = comparison.pruned
    return [
      [`${taskLosses.hiddenStates.name}, ${taskLosses.hiddenStates.unit}`, '0', distance.toFixed(5)],
      ['standard error', '—', errorText(standardError)],
      ...(embeddings === undefined
        ? []
        : [
            ['cosine of sentence embeddings, mean', '1', embeddings.meanCosine.toFixed(5)],
            ['standard deviation over sentences', '—', embeddings.deviation.toFixed(5)],
            ['least', '—', embeddings.leastCosine.toFixed(5)],
          ]),
    ]
  }
  if (comparison.task === 'nextToken') {
    const reports = [comparison.dense, comparison.pruned]
    return [
      row('perplexity, token-pooled', reports, (report) => report.tokenPooled.toFixed(4)),
      row('perplexity, sequence-mean', reports, (report) => report.sequenceMean.toFixed(4)),
      row('nats per token', reports, (report) => report.natsPerToken.toFixed(5)),
      row('standard error', reports, ({ standardError }) => errorText(standardError)),
    ]
  }
  const { name, unit } = taskLosses[comparison.task]
  const reports = [comparison.dense, comparison.pruned]
  return [
    row(`${name}, ${unit}`, reports, ({ loss }) => loss.toFixed(5)),
    row('standard error', reports, ({ standardError }) => errorText(standardError)),
  ]
}

const poolingText = ({ modes, normalize }: SentencePooling) =>
  `${modes.join(' + ')} pooling${normalize ? '' : ', not normalised'}`

/** A single row has none. */
const errorText = (standardError: number) => (Number.isNaN(standardError) ? '—' : standardError.toFixed(5))

/** What the numbers of a comparison were measured on: counts of predictions and rows. */
export function measuredOn(comparison: Comparison): string {
  if (comparison.task === 'hiddenStates') {
    const { rows, rowLength, embeddings } = comparison.pruned
    const sentences =
      embeddings === undefined
        ? ''
        : `, ${embeddings.sentences} sentences embedded by ${poolingText(embeddings.pooling)}`
    return `${rows} rows of ${rowLength}${sentences}`
  }
  const { dense } = comparison
  const predictions =
    comparison.task === 'nextToken'
      ? `${comparison.dense.predictedTokens} predicted tokens`
      : `${comparison.dense.predictions} predictions`
  return `${predictions}, ${dense.rows} rows of ${dense.rowLength}`
}
