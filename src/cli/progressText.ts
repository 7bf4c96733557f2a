import type { PruneProgress } from '../run/pruneRequest.ts'

/** What a bar shows, from the events of a run as they come; `now` is a clock in milliseconds. */
export interface ProgressText {
  see(progress: PruneProgress): void
  /** The phase by its name, with its own bar; a second line for the candidates of a step. */
  text(): string
}

type Evaluated = Extract<PruneProgress, { readonly type: 'evaluated' }>

/**
 * Counts work in passes over all rows and learns what one takes. What is left is the foretold work until a step is done, and from
 * then on the work of the last steps for each step that is still missing.
 */
export function progressText(now: () => number): ProgressText {
  let phase = 'dense pass'
  let bar = 0
  let detail: string | undefined
  let eta = ''
  let best: { id: string; loss: number; unit: string; share: number } | undefined
  const work = workMeter(now)
  const steps = { done: 0, share: 0, asked: undefined as number | undefined }
  const nameStep = () => {
    const of = steps.asked === undefined || steps.done >= steps.asked ? '' : ` of ${steps.asked}`
    phase = steps.share >= 1 ? 'improving the plan' : `step ${steps.done + 1}${of}`
  }
  function seeEvaluation(progress: Evaluated): void {
    const { done, of, plan, loss, unit, share, measure, recalled } = progress
    if (measure.startsWith('check ')) {
      phase = 'checking the step'
      detail = undefined
      return
    }
    if (plan.blocks.length === 0 && Object.keys(plan.units).length === 0) return
    nameStep()
    work.add(share / 2, recalled)
    if (done === 1 || (best !== undefined && share > best.share)) best = undefined
    const isSeenLess = best !== undefined && share < best.share
    if (Number.isFinite(loss) && !isSeenLess && loss < (best?.loss ?? Number.POSITIVE_INFINITY)) {
      best = { id: plan.blocks.at(-1) ?? 'units inside blocks', loss, unit, share }
    }
    const found = best === undefined ? '' : `  best so far ${best.id} ${shown(best)}`
    const left = work.left((of - done) * (share / 2), steps.share)
    eta = left === undefined ? '' : `  about ${duration(left)} left`
    detail = `  candidate ${done} of ${of}  ${drawBar(done / of)}${found}`
  }
  return {
    see(progress) {
      if (progress.type === 'loaded') {
        steps.asked = 'remove' in progress.budget ? progress.budget.remove : undefined
        work.start()
      } else if (progress.type === 'cost') work.foretold(progress.passes)
      else if (progress.type === 'dense') {
        nameStep()
        work.start()
      } else if (progress.type === 'evaluated') seeEvaluation(progress)
      else if (progress.type === 'step') {
        steps.done = progress.number
        steps.share = progress.share
        bar = progress.share
        detail = undefined
        best = undefined
        work.stepDone()
        nameStep()
      } else if (progress.type === 'sampling') {
        phase = 'writing samples'
        bar = progress.share
        eta = ''
        detail = undefined
      } else if (progress.type === 'exporting') {
        const { writtenBytes, totalBytes } = progress
        const isWritten = writtenBytes >= totalBytes
        phase = isWritten ? 'verifying' : `exporting, ${bytes(writtenBytes)} of ${bytes(totalBytes)}`
        bar = isWritten ? 0 : writtenBytes / totalBytes
        eta = ''
        detail = undefined
      } else if (progress.type === 'consumer') phase = 'verifying'
    },
    text: () => [`${phase}  ${drawBar(bar)}${eta}`, ...(detail === undefined ? [] : [detail])].join('\n'),
  }
}

/** Steps whose work says what the next ones take. */
const remembered = 3

function workMeter(now: () => number) {
  let [last, spentMs, measured, inStep, steps] = [now(), 0, 0, 0, 0]
  let foretold: number | undefined
  const recent: number[] = []
  return {
    start: () => {
      last = now()
    },
    foretold: (passes: number) => {
      foretold = passes
    },
    add(passes: number, recalled: boolean) {
      const at = now()
      if (!recalled) {
        spentMs += at - last
        measured += passes
      }
      last = at
      inStep += passes
    },
    stepDone() {
      recent.push(inStep)
      steps += 1
      inStep = 0
    },
    /** Milliseconds; undefined while nothing was measured. */
    left(ofCall: number, share: number): number | undefined {
      if (measured === 0) return undefined
      const msOfPass = spentMs / measured
      const known = recent.slice(-remembered)
      const ofStep = known.reduce((total, passes) => total + passes, 0) / Math.max(1, known.length)
      const stepsLeft = share > 0 && share < 1 ? (steps * (1 - share)) / share : 0
      const passes = steps === 0 ? (foretold ?? 0) - inStep : stepsLeft * ofStep - inStep
      return Math.max(ofCall, passes) * msOfPass
    },
  }
}

/** A loss as perplexity, anything else as it is. */
function shown({ loss, unit }: { readonly loss: number; readonly unit: string }): string {
  return unit === 'nats per token' ? Math.exp(loss).toFixed(3) : loss.toPrecision(4)
}

function drawBar(share: number, width = 24): string {
  const full = Math.round(Math.min(1, Math.max(0, share)) * width)
  return `${'█'.repeat(full)}${'░'.repeat(width - full)}`
}

export function duration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000))
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60), seconds % 60]
  return h > 0 ? `${h} h ${m} min` : m > 0 ? `${m} min ${s} s` : `${s} s`
}

export function bytes(count: number): string {
  return count >= 1e9 ? `${(count / 1e9).toFixed(2)} GB` : `${(count / 1e6).toFixed(1)} MB`
}
