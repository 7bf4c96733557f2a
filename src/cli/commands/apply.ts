import { Command } from 'commander'
import { applyPlanFile } from '../../run/applyPlanFile.ts'
import type { Interruption } from '../interruption.ts'
import { type SharedOptions, wholeNumber, withModelOptions, withOutputOptions } from '../options.ts'

interface ApplyOptions extends SharedOptions {
  readonly plan: string
  readonly steps?: number
  readonly output: string
  readonly allowOtherModel?: true
}

/** `blockpruner apply`: the smaller checkpoint of a plan. */
export function applyCommand(interruption: Interruption): Command {
  const command = new Command('apply').description('write the model that a plan describes, and check it')
  withModelOptions(command)
    .requiredOption('--plan <plan.json>', 'what to leave out')
    .option('--steps <k>', 'use the first k steps of the plan only', wholeNumber)
    .requiredOption('--output <dir>', 'folder of the smaller model')
    .option('--allow-other-model', 'accept a plan made for other weights')
  return withOutputOptions(command).action(async (options: ApplyOptions) => {
    const written = await applyPlanFile({ ...options, signal: interruption.signal })
    const text = `${options.output}: ${written.parameters} parameters, ${written.form} form, reopened and equal to the plan`
    process.stdout.write(`${options.json ? JSON.stringify({ path: options.output, ...written }) : text}\n`)
  })
}
