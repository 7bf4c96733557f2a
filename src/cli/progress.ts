import { createLogUpdate } from 'log-update'
import { shownLoss, type Task, taskLosses } from '../model/task.ts'
import type { PruneProgress } from '../run/pruneRequest.ts'

/** Shows how far a run is: a nested bar on a terminal, plain lines in a log, or nothing. Always on stderr. */
export interface ProgressDisplay {
  report(progress: PruneProgress): void
  stop(): void
}

export type ProgressMode = 'bar' | 'lines' | 'none'

export function startProgress(mode: ProgressMode): ProgressDisplay {
  if (mode === 'none') return { report: () => {}, stop: () => {} }
  return mode === 'bar' ? bar() : lines()
}

function lines(): ProgressDisplay {
  const lineOf = describer()
  return {
    report(progress) {
      const line = lineOf(progress)
      if (line !== undefined) process.stderr.write(`${line}\n`)
    },
    stop: () => {},
  }
}

/** One line for what a log should keep; undefined for single evaluations. */
function describer(): (progress: PruneProgress) => string | undefined {
  let task: Task = 'nextToken'
  const loss = (value: number) => `${taskLosses[task].name} ${shownLoss(task, value)}`
  return (progress) => {
    switch (progress.type) {
      case 'loaded': {
        const { model, rows } = progress
        task = progress.task
        const { source, prediction } = rows.description
        const text = `${rows.rows} rows of ${rows.rowLength} tokens from ${source}`
        const predicted = prediction === undefined ? '' : `, ${prediction}`
        return `${model.id}: ${model.blocks.length} blocks, ${model.parameters} parameters; ${text}${predicted}`
      }
      case 'resumed':
        return `resuming: ${progress.evaluations} evaluations are in the journal`
      case 'keeping':
        return `memory: keeps ${bytes(progress.bytes)} of the dense model's predictions`
      case 'timed':
        return `timed: a pass takes ${progress.seconds.toPrecision(3)} s; without all that may go it is ${progress.most.toFixed(2)} times as fast`
      case 'dense':
        return `dense: ${loss(progress.loss)}`
      case 'step': {
        const { removed, ratio } = progress.step
        const what = removed.length === 0 ? 'units inside blocks' : removed.join(' ')
        return `step ${progress.number}: removed ${what}, ${loss(progress.step.loss)}, ${(ratio * 100).toFixed(1)} % of the parameters`
      }
      case 'warning':
        return `warning: ${progress.message}`
      case 'consumer':
        return progress.line
      default:
        return undefined
    }
  }
}

const redrawMs = 100

function bar(): ProgressDisplay {
  const update = createLogUpdate(process.stderr)
  const [estimate, lineOf] = [estimator(), describer()]
  let drawn = 0
  return {
    report(progress) {
      estimate.see(progress)
      const line = lineOf(progress)
      if (line !== undefined) {
        update.clear()
        process.stderr.write(`${line}\n`)
      }
      const now = performance.now()
      if (progress.type === 'evaluated' && progress.done < progress.of && now - drawn < redrawMs) return
      drawn = now
      update(estimate.text())
    },
    stop() {
      update.clear()
      update.done()
    },
  }
}

/** Counts steps and candidates and extrapolates the time the remaining candidates take. */
function estimator() {
  let total = { steps: undefined as number | undefined, ratio: undefined as number | undefined, blocks: 0 }
  let [step, share, done, of] = [0, 0, 0, 0]
  let best = { id: '', loss: Number.POSITIVE_INFINITY, unit: '' }
  let [evaluated, spentMs, last] = [0, 0, performance.now()]
  let exporting: string | undefined
  return {
    see(progress: PruneProgress) {
      if (progress.type === 'loaded') {
        const { budget, candidates } = progress
        total = {
          steps: 'remove' in budget ? budget.remove : undefined,
          ratio: 'ratio' in budget ? budget.ratio : undefined,
          blocks: candidates,
        }
        last = performance.now()
      } else if (progress.type === 'evaluated') {
        const now = performance.now()
        if (!progress.recalled) {
          evaluated += 1
          spentMs += now - last
        }
        last = now
        ;[done, of] = [progress.done, progress.of]
        if (done === 1) best = { id: '', loss: Number.POSITIVE_INFINITY, unit: '' }
        if (progress.loss < best.loss) {
          best = { id: progress.plan.blocks.at(-1) ?? 'dense', loss: progress.loss, unit: progress.unit }
        }
      } else if (progress.type === 'step') {
        step = progress.number
        share = progress.step.ratio
      } else if (progress.type === 'exporting') {
        exporting = `writing ${bytes(progress.writtenBytes)} of ${bytes(progress.totalBytes)}`
      }
    },
    text(): string {
      if (exporting !== undefined) return exporting
      const steps =
        total.steps ??
        (share > 0 && total.ratio !== undefined
          ? Math.min(total.blocks, Math.ceil((step / share) * total.ratio))
          : undefined)
      const progress = total.steps === undefined ? share / (total.ratio ?? 1) : step / total.steps
      const left = steps === undefined ? undefined : candidatesLeft(total.blocks, step, steps) - done
      const eta = left === undefined || evaluated === 0 ? '…' : duration((left * spentMs) / evaluated)
      return [
        `step ${step + 1} of ${total.steps === undefined ? '~' : ''}${steps ?? '?'}  ${drawBar(progress)}  ETA ${eta}`,
        `  candidate ${done} of ${of}  ${drawBar(of === 0 ? 0 : done / of)}  best so far ${best.id} ${shown(best)}`,
      ].join('\n')
    },
  }
}

/** A loss as perplexity, anything else as it is. */
function shown({ loss, unit }: { readonly loss: number; readonly unit: string }): string {
  return unit === 'nats per token' ? Math.exp(loss).toFixed(3) : loss.toPrecision(4)
}

/** Σ over the remaining steps of the blocks still there. */
function candidatesLeft(blocks: number, step: number, steps: number): number {
  let left = 0
  for (let k = step; k < steps; k++) left += blocks - k
  return left
}

function drawBar(share: number, width = 24): string {
  const full = Math.round(Math.min(1, Math.max(0, share)) * width)
  return `${'█'.repeat(full)}${'░'.repeat(width - full)}`
}

function duration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000))
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60), seconds % 60]
  return h > 0 ? `${h} h ${m} min` : m > 0 ? `${m} min ${s} s` : `${s} s`
}

function bytes(count: number): string {
  return count >= 1e9 ? `${(count / 1e9).toFixed(2)} GB` : `${(count / 1e6).toFixed(1)} MB`
}
