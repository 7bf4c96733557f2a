import { createLogUpdate } from 'log-update'
import { shownLoss, type Task, taskLosses } from '../model/task.ts'
import type { PruneProgress } from '../run/pruneRequest.ts'
import { bytes, duration, progressText } from './progressText.ts'
import { warningOfRatio } from './whatRatiosCost.ts'

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
        const warning = warningOfRatio(model, task, progress.budget)
        return [
          `${model.id}: ${model.blocks.length} blocks, ${model.parameters} parameters; ${text}${predicted}`,
          ...(warning === undefined ? [] : [warning]),
        ].join('\n')
      }
      case 'resumed':
        return `resuming: ${progress.evaluations} evaluations are in the journal`
      case 'device':
      case 'memory':
        return `${progress.type}: ${progress.text}`
      case 'keeping':
        return `memory: keeps ${bytes(progress.bytes)} of the dense model's predictions`
      case 'timed':
        return `timed: a pass takes ${progress.seconds.toPrecision(3)} s; without all that may go it is ${progress.most.toFixed(2)} times as fast`
      case 'dense':
        return `dense: ${loss(progress.loss)}`
      case 'cost':
        return costText(progress)
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

/** What a run will cost, and the loop that costs less. */
function costText({ passes, seconds, steps, memoryBytes, cheaper }: Extract<PruneProgress, { type: 'cost' }>): string {
  const instead =
    cheaper === undefined ? '' : `; --search ${cheaper.name} takes about ${duration(cheaper.seconds * 1000)}`
  return (
    `cost: about ${Math.ceil(passes)} passes of the text for ${steps} blocks, ${duration(seconds * 1000)}, ` +
    `${bytes(memoryBytes)} of memory so far${instead}`
  )
}

const redrawMs = 100

function bar(): ProgressDisplay {
  const update = createLogUpdate(process.stderr)
  const [estimate, lineOf] = [progressText(() => performance.now()), describer()]
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
