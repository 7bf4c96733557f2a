import { createLogUpdate } from 'log-update'
import type { PushProgress } from '../export/push.ts'
import type { ProgressMode } from './progress.ts'

/** Shows how far an upload is, on stderr: one line that changes on a terminal, a line each tenth in a log, or nothing. */
export function startUpload(mode: ProgressMode): { report(progress: PushProgress): void; stop(): void } {
  if (mode === 'none') return { report: () => {}, stop: () => {} }
  const text = ({ file, sentBytes, totalBytes }: PushProgress) =>
    `uploading ${file}: ${megabytes(sentBytes)} of ${megabytes(totalBytes)} MB`
  if (mode === 'lines') {
    let tenths = 0
    return {
      report(progress) {
        const reached = Math.floor((10 * progress.sentBytes) / progress.totalBytes)
        if (reached > tenths) process.stderr.write(`${text(progress)}\n`)
        tenths = Math.max(tenths, reached)
      },
      stop: () => {},
    }
  }
  const update = createLogUpdate(process.stderr)
  return {
    report: (progress) => update(text(progress)),
    stop: () => update.clear(),
  }
}

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1)
