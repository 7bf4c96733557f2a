import { Command } from 'commander'
import { applyPlanFile } from '../../run/applyPlanFile.ts'
import { type RatioRule, ratioRules } from '../../run/stepsAtRatio.ts'
import { agreementOf, type ExportOptions, linesOf, sizesText, withExportOptions } from '../exportOptions.ts'
import type { Interruption } from '../interruption.ts'
import {
  decimalNumber,
  onDevice,
  oneOf,
  type SharedOptions,
  wholeNumber,
  withModelOptions,
  withOutputOptions,
} from '../options.ts'

interface ApplyOptions extends SharedOptions, ExportOptions {
  readonly plan: string
  readonly steps?: number
  readonly ratio?: number
  readonly ratioRule?: RatioRule
  readonly output: string
  readonly allowOtherModel?: true
}

/** `blockpruner apply`: the smaller checkpoint of a plan. */
export function applyCommand(interruption: Interruption): Command {
  const command = new Command('apply').description('write the model that a plan describes, and check it')
  withModelOptions(command)
    .requiredOption('--plan <plan.json|run>', 'what to leave out')
    .option('--steps <k>', 'use the first k steps of the plan only; 0: the whole model', wholeNumber)
    .option('--ratio <r>', 'use the steps that remove this share of the parameters, 0 to 1', decimalNumber)
    .option('--ratio-rule <rule>', 'nearest, at-least or at-most (default: nearest)', oneOf(ratioRules))
    .requiredOption('--output <dir>', 'folder or file of the export; of several formats the folder that holds them')
    .option('--allow-other-model', 'accept a plan made for other weights')
  withExportOptions(command)
  return withOutputOptions(command).action(async (options: ApplyOptions) => {
    const {
      export: written,
      exportPath,
      denseBytes,
      others,
    } = await applyPlanFile({
      ...options,
      onDevice,
      formats: options.format,
      signal: interruption.signal,
      ...(!options.quiet && { onConsumer: (line: string) => process.stderr.write(`${line}\n`) }),
    })
    const lines = linesOf(others, denseBytes)
    if (written) {
      lines.push(
        `${exportPath}: ${written.parameters} parameters, ${sizesText(written.files, denseBytes)}, ${written.form} form, reopened and equal to the plan, ${agreementOf(written.consumers)}`,
      )
    }
    const result = { ...(written && { path: exportPath, ...written }), denseBytes, others }
    process.stdout.write(`${options.json ? JSON.stringify(result) : lines.join('\n')}\n`)
  })
}
