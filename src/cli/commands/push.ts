import { Command } from 'commander'
import { type PushProgress, pushExport } from '../../export/push.ts'
import type { Interruption } from '../interruption.ts'
import { withOutputOptions } from '../options.ts'
import type { ProgressMode } from '../progress.ts'
import { startUpload } from '../upload.ts'

interface PushOptions {
  readonly private?: true
  readonly revision: string
  readonly message?: string
  readonly json?: true
  readonly quiet?: true
}

/** `blockpruner push`: an export to the hub. */
export function pushCommand(interruption: Interruption): Command {
  const command = new Command('push')
    .description('upload an export to the Hugging Face hub, with the token of HF_TOKEN or of "hf auth login"')
    .argument('<export>', 'folder of an export, or .gguf file')
    .argument('<repository>', 'owner/name; made where there is none')
    .option('--private', 'make a new repository private')
    .option('--revision <branch>', 'branch to commit to; made where there is none', 'main')
    .option('--message <text>', 'of the commit')
  return withOutputOptions(command).action(async (path: string, repository: string, options: PushOptions) => {
    interruption.advise('interrupted; nothing was committed, and what has arrived is not sent again')
    const mode: ProgressMode = options.quiet ? 'none' : process.stderr.isTTY ? 'bar' : 'lines'
    const upload = startUpload(mode)
    try {
      const pushed = await pushExport(path, repository, {
        ...options,
        branch: options.revision,
        signal: interruption.signal,
        onProgress: (progress: PushProgress) => upload.report(progress),
      })
      upload.stop()
      const { files, sizeBytes, url } = pushed
      const text = `${files.length} files, ${(sizeBytes / 1e6).toFixed(1)} MB: ${url}`
      process.stdout.write(`${options.json ? JSON.stringify(pushed) : text}\n`)
    } finally {
      upload.stop()
    }
  })
}
