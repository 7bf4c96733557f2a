import { Command } from 'commander'
import { OutputError } from '../../errors.ts'
import { verifyModel } from '../../run/verifyModel.ts'
import { isWrong } from '../../verify/verifyExport.ts'
import type { Interruption } from '../interruption.ts'
import {
  onDevice,
  rowsRequest,
  type SharedOptions,
  type TextOptions,
  wholeNumber,
  withModelOptions,
  withOutputOptions,
  withTextOptions,
} from '../options.ts'

interface VerifyOptions extends SharedOptions, TextOptions {
  readonly plan?: string
  readonly steps?: number
  readonly allowOtherModel?: true
}

/** `blockpruner verify`: an export in the software it was made for. */
export function verifyCommand(_: Interruption): Command {
  const command = new Command('verify')
    .description('open an export in the software it is for, and compare it with its plan')
    .argument('<export>', 'folder or .gguf file')
  withModelOptions(command)
    .option('--plan <plan.json|run>', 'what the export leaves out (default: nothing)')
    .option('--steps <k>', 'the first k steps of the plan only; 0: the whole model', wholeNumber)
    .option('--allow-other-model', 'accept a plan or an export made of other files: the same model in another format')
  withTextOptions(command, { dataset: 'embedded:test', nsamples: 2 })
  return withOutputOptions(command).action(async (path: string, options: VerifyOptions) => {
    const onConsumer = options.json ? undefined : (line: string) => process.stdout.write(`${line}\n`)
    const rows = { ...rowsRequest(options, 2), seqlen: Math.min(options.seqlen, 64) }
    const results = await verifyModel({ ...options, path, rows, onConsumer, onDevice })
    if (options.json) process.stdout.write(`${JSON.stringify(results)}\n`)
    const wrong = results.filter(isWrong)
    if (wrong.length > 0) {
      throw new OutputError(
        `${path}: ${wrong.length} of ${results.length} consumers do not agree with the plan; do not use this export`,
      )
    }
  })
}
