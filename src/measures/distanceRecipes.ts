import type { OperationAttributes } from '../graph/operations.ts'

/** How far predictions are from the dense model's; `js_reversed` and `official_*` as FinerCut's released code has them. */
export type OutputDistance =
  | ('js' | 'kl' | 'angular' | 'euclidean')
  | ('js_reversed' | 'official_kl' | 'official_angular' | 'official_norm')

/** How a distance is made from what the graph gives for each token. */
interface Recipe {
  readonly graph: OperationAttributes['outputDistance']['measure']
  /** The value of a row from the numbers of its tokens; `vocabulary` is V. */
  row(tokens: Float64Array, vocabulary: number): number
  readonly unit: string
}

const mean = (values: Float64Array, of: (value: number) => number = (value) => value) =>
  values.reduce((total, value) => total + of(value), 0) / values.length

/** A divergence is never negative, though its sum may round to that. */
const positive = (d: number) => Math.max(0, d)

/** arccos(1 - d), exact where d is small. */
const angle = (d: number) => 2 * Math.asin(Math.sqrt(Math.min(1, Math.max(0, d / 2))))

/**
 * The textbook distances of FinerCut (arXiv:2405.18218), and under `js_reversed` and `official_*` those of its released code: a
 * mean over the vocabulary too, radians with negative cosines taken as 0, a matrix norm over the row.
 */
export const distanceRecipes: Record<OutputDistance, Recipe> = {
  js: { graph: 'js', row: (tokens) => mean(tokens, positive), unit: 'nats of divergence per token' },
  kl: { graph: 'kl', row: (tokens) => mean(tokens, positive), unit: 'nats of divergence per token' },
  angular: {
    graph: 'oneMinusCosine',
    row: (tokens) => mean(tokens, angle) / Math.PI,
    unit: 'half turns between logits',
  },
  euclidean: { graph: 'squaredDifference', row: (tokens) => mean(tokens, Math.sqrt), unit: 'logits' },
  js_reversed: {
    graph: 'reversedJs',
    row: (tokens, vocabulary) => mean(tokens, positive) / vocabulary,
    unit: 'nats of divergence per token and word',
  },
  official_kl: {
    graph: 'kl',
    row: (tokens, vocabulary) => mean(tokens, positive) / vocabulary,
    unit: 'nats of divergence per token and word',
  },
  official_angular: {
    graph: 'oneMinusCosine',
    row: (tokens) => mean(tokens, (d) => angle(Math.min(1, d))),
    unit: 'radians between logits',
  },
  official_norm: {
    graph: 'squaredDifference',
    row: (tokens) => Math.sqrt(mean(tokens) * tokens.length),
    unit: 'logits per row',
  },
}
