import { type Command, InvalidArgumentError, Option } from 'commander'
import type { MethodOption, MethodOptions, OptionValue } from '../methods/options.ts'
import { defaultMethod, methodOf, methods } from '../methods/registry.ts'
import { decimalNumber, oneOf } from './options.ts'

/** `--method` and the options of all methods, each once. */
export function withMethodOptions(command: Command): Command {
  command.option('--method <name>', 'pruning method, see `blockpruner methods`', knownMethod, defaultMethod)
  for (const [name, { option, owners }] of optionsByName()) {
    command.addOption(flagOf(name, option, `${owners.join(', ')}: ${option.says}`))
  }
  return command
}

/** The options of methods that were given, by name. */
export function givenMethodOptions(command: Command): MethodOptions {
  const names = [...optionsByName().keys()].filter((name) => command.getOptionValueSource(keyOf(name)) === 'cli')
  return Object.fromEntries(names.map((name) => [name, command.getOptionValue(keyOf(name)) as OptionValue]))
}

function knownMethod(name: string): string {
  try {
    return methodOf(name).name
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message)
  }
}

function optionsByName() {
  const found = new Map<string, { option: MethodOption; owners: string[] }>()
  for (const { name: owner, options } of methods) {
    for (const [name, option] of Object.entries(options)) {
      const known = found.get(name)
      if (known === undefined) found.set(name, { option, owners: [owner] })
      else known.owners.push(owner)
    }
  }
  return found
}

function flagOf(name: string, option: MethodOption, says: string): Option {
  if (option.type === 'flag' && option.default) return new Option(`--no-${name}`, says)
  if (option.type === 'flag') return new Option(`--${name}`, says)
  if (option.type === 'choice') {
    return new Option(`--${name} <name>`, says).choices(option.choices).argParser(oneOf(option.choices))
  }
  return new Option(`--${name} <x>`, says).argParser(decimalNumber)
}

/** commander's name for the value: keepLast for keep-last. */
function keyOf(name: string): string {
  return name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())
}
