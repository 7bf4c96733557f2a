/** What is known of one candidate, row by row. */
interface Known {
  /** Loss increase on each row when it was last measured; NaN: never. */
  readonly increases: Float64Array
  /** Step of that measurement; -1: never. */
  readonly steps: Int32Array
  /** `increases` as they were before this step measured anything. */
  before: Float64Array
  beforeStep: number
}

export interface Estimate {
  /** Loss increase over all rows. */
  readonly mean: number
  /** Its standard error; 0 when all rows were measured in this step. */
  readonly error: number
}

/** Standard deviations between rows, medians over the candidates. */
export interface Spread {
  /** Of a candidate's increases. */
  readonly rows: number
  /** Of how much its increases changed since they were last measured. */
  readonly drift: number
}

/** Changes that enter the median of the drift. */
const remembered = 40
/** Changes without which the drift is taken to be half as large as the increases themselves. */
const leastChanges = 4

/**
 * The loss increases of all candidates on all rows, as a search comes to know them in pieces: rows measured in this step, rows
 * measured in an earlier one, rows never measured. What is old is not thrown away. It differs from what it would be now by a
 * change that the candidate's rows share in part and that is small beside the differences between rows, so
 *
 *     increase of a row  =  measured now  |  measured earlier + mean change of the rows that have both  |  mean of the others
 *
 * with an error that counts every row that is not measured now (old values as control variates).
 */
export class Increases {
  readonly #rows: number
  readonly #known = new Map<string, Known>()
  readonly #changes: number[] = []
  #step = 0

  constructor(rows: number) {
    this.#rows = rows
  }

  /** What was measured up to now is old from here on. */
  nextStep(): void {
    this.#step += 1
  }

  /** Increases of the rows from `start`; ∞ where the loss is no number any more. */
  record(candidate: string, start: number, increases: Float64Array): void {
    const known = this.#known.get(candidate) ?? this.#unknown()
    this.#known.set(candidate, known)
    if (known.beforeStep !== this.#step) {
      known.before = known.increases.slice()
      known.beforeStep = this.#step
    }
    known.increases.set(increases, start)
    known.steps.fill(this.#step, start, start + increases.length)
    const changes = changesOf(known, this.#step)
    if (changes.length >= 2) this.#changes.push(deviation(changes))
  }

  /** The step in which each row of `candidate` was last measured; -1: never. */
  stepsOf(candidate: string): Int32Array {
    return this.#known.get(candidate)?.steps ?? new Int32Array(this.#rows).fill(-1)
  }

  /** Whether the row was measured in this step. */
  isFresh(step: number): boolean {
    return step === this.#step
  }

  spread(): Spread {
    const deviations = [...this.#known.values()]
      .map(({ increases }) => increases.filter(Number.isFinite))
      .filter(({ length }) => length >= 2)
      .map(deviation)
    const rows = median(deviations)
    const drift = this.#changes.length < leastChanges ? rows / 2 : median(this.#changes.slice(-remembered))
    return { rows, drift }
  }

  /** Unmeasured: −∞, so that it is tried before all others. */
  estimate(candidate: string, spread: Spread): Estimate {
    const known = this.#known.get(candidate)
    if (known === undefined) return { mean: Number.NEGATIVE_INFINITY, error: 0 }
    const changes = changesOf(known, this.#step)
    const change = changes.reduce((total, value) => total + value, 0) / (changes.length + 1)
    let [sum, fresh, old, missing] = [0, 0, 0, 0]
    for (const [row, increase] of known.increases.entries()) {
      const step = known.steps[row]!
      if (step === -1) missing += 1
      else if (step === this.#step) fresh += 1
      else old += 1
      if (step !== -1) sum += step === this.#step ? increase : increase + change
    }
    const seen = fresh + old
    const variance =
      (spread.drift ** 2 * (old + old ** 2 / (fresh + 1))) / this.#rows ** 2 +
      (missing === 0 ? 0 : (missing / this.#rows) ** 2 * spread.rows ** 2 * (1 / seen + 1 / missing))
    return { mean: sum / seen, error: Math.sqrt(variance) }
  }

  #unknown(): Known {
    return {
      increases: new Float64Array(this.#rows).fill(Number.NaN),
      steps: new Int32Array(this.#rows).fill(-1),
      before: new Float64Array(this.#rows).fill(Number.NaN),
      beforeStep: -1,
    }
  }
}

/** By how much the rows measured in `step` differ from their earlier measurement, where there was one. */
function changesOf({ increases, steps, before, beforeStep }: Known, step: number): number[] {
  if (beforeStep !== step) return []
  return [...increases]
    .map((increase, row) => (steps[row] === step ? increase - before[row]! : Number.NaN))
    .filter(Number.isFinite)
}

function deviation(values: ArrayLike<number>): number {
  const list = Array.from(values)
  const mean = list.reduce((total, value) => total + value, 0) / list.length
  return Math.sqrt(list.reduce((total, value) => total + (value - mean) ** 2, 0) / Math.max(1, list.length - 1))
}

function median(values: readonly number[]): number {
  if (values.length === 0) return 0
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!
}
