#!/usr/bin/env node
import { Command, CommanderError } from 'commander'
import { ToolkitError } from '../errors.ts'
import { versions } from '../run/versions.ts'
import { applyCommand } from './commands/apply.ts'
import { compareCommand } from './commands/compare.ts'
import { evaluateCommand } from './commands/evaluate.ts'
import { inspectCommand } from './commands/inspect.ts'
import { methodsCommand } from './commands/methods.ts'
import { pruneCommand } from './commands/prune.ts'
import { pushCommand } from './commands/push.ts'
import { verifyCommand } from './commands/verify.ts'
import { interruption } from './interruption.ts'
import { refuseRepeats } from './once.ts'
import { setV8Flags } from './v8Flags.ts'

setV8Flags()

const program = new Command('blockpruner')
  .description('Make transformer language models smaller by leaving out structure they do not need.')
  .version(versions().blockpruner)
  .exitOverride()
  .configureHelp({ sortSubcommands: false })
  .showHelpAfterError('(add --help for the options)')

for (const command of [
  pruneCommand,
  evaluateCommand,
  applyCommand,
  verifyCommand,
  pushCommand,
  inspectCommand,
  compareCommand,
  methodsCommand,
]) {
  const made = command(interruption).copyInheritedSettings(program)
  refuseRepeats(made)
  program.addCommand(made)
}

try {
  await program.parseAsync()
  process.exitCode ??= 0
} catch (error) {
  process.exitCode = exitCodeOf(error as Error)
}
// a runtime thread must not keep a finished program alive
process.exit()

/** 2 for wrong usage, which is what an error about an option is, 130 after Ctrl-C, 1 for every failure; prints message and cure. */
function exitCodeOf(error: Error): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
  if (interruption.signal.aborted) {
    process.stderr.write(`${interruption.advice()}\n`)
    return 130
  }
  const isOurs = error instanceof ToolkitError
  if (process.argv.includes('--debug')) process.stderr.write(`${error.stack}\n`)
  else process.stderr.write(`${isOurs ? 'error' : `unexpected ${error.name}`}: ${error.message}\n`)
  if (!isOurs && !process.argv.includes('--debug')) process.stderr.write('run again with --debug for the stack\n')
  return isOurs && error.message.startsWith('--') ? 2 : 1
}
