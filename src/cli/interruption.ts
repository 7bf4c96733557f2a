/** What Ctrl-C means to a running command. */
export interface Interruption {
  readonly signal: AbortSignal
  /** The last line the user reads. */
  advice(): string
  /** Sets that line: how to go on. */
  advise(text: string): void
}

let text = 'interrupted'
const controller = new AbortController()

/** Fires on the first Ctrl-C (or SIGTERM), so that the write in flight is finished; the second one ends the process. */
export const interruption: Interruption = {
  signal: controller.signal,
  advice: () => text,
  advise: (advice) => {
    text = advice
  },
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    if (controller.signal.aborted) process.exit(130)
    process.stderr.write('\ninterrupted: finishing the write in flight (again to stop at once)\n')
    controller.abort()
  })
}
