import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Method } from '../methods/method.ts'
import { flagNameOf, isPlanPath, type MethodOption, type MethodOptions, type OptionValue } from '../methods/options.ts'
import { defaultMethod, methodOf, methods, searches, searchOf } from '../methods/registry.ts'
import { partsOfList } from '../model/blockList.ts'
import { decimalNumber, oneOf } from './options.ts'

/** `--method`, and the options of all methods, each once; the help shows only those that `shown` names. */
export function withMethodOptions(command: Command, shown: readonly string[] = []): Command {
  command.addOption(
    new Option('--method <name>', `see \`blockpruner methods\` (default: ${defaultMethod})`).argParser(
      known((name) => methodOf(name)),
    ),
  )
  return withOptionsOf(command, methods, shown)
}

/** `--search`, and the options of all searches. */
export function withSearchOptions(command: Command): Command {
  const names = searches.map(({ name }) => name).join(', ')
  command.addOption(
    new Option('--search <name>', `how the plan of ${defaultMethod} is found: ${names}`).argParser(
      known((name) => searchOf(name)),
    ),
  )
  return withOptionsOf(command, searches, [])
}

function withOptionsOf(command: Command, owners: readonly Method[], shown: readonly string[]): Command {
  for (const [name, option] of optionsByName(owners)) {
    command.addOption(optionOf(name, option).hideHelp(!shown.includes(name)))
  }
  return command
}

/** The options of methods that were given, by name. */
export function givenMethodOptions(command: Command): MethodOptions {
  return givenAmong(command, methods)
}

/** The options of searches that were given, by name. */
export function givenSearchOptions(command: Command): MethodOptions {
  return givenAmong(command, searches)
}

function givenAmong(command: Command, owners: readonly Method[]): MethodOptions {
  const names = [...optionsByName(owners).keys()].filter((name) => command.getOptionValueSource(keyOf(name)) === 'cli')
  return Object.fromEntries(names.map((name) => [name, command.getOptionValue(keyOf(name)) as OptionValue]))
}

function known(find: (name: string) => Method): (name: string) => string {
  return (name) => {
    try {
      return find(name).name
    } catch (error) {
      throw new InvalidArgumentError((error as Error).message)
    }
  }
}

function optionsByName(owners: readonly Method[]): Map<string, MethodOption> {
  return new Map(owners.flatMap(({ options }) => Object.entries(options)))
}

/** An option of a method as a flag of the command line. */
export function optionOf(name: string, option: MethodOption): Option {
  const { says } = option
  const flag = flagNameOf(name)
  if (option.type === 'flag') return new Option(option.default ? `--no-${flag}` : `--${flag}`, says)
  if (option.type === 'list') return new Option(`--${flag} <list>`, says).argParser(partsOfList)
  if (option.type === 'choice') {
    const parse = oneOf(option.choices)
    if (!option.orPlan) return new Option(`--${flag} <name>`, says).choices(option.choices).argParser(parse)
    return new Option(`--${flag} <name|plan.json>`, says).argParser((text) => (isPlanPath(text) ? text : parse(text)))
  }
  return new Option(`--${flag} <${option.whole ? 'n' : 'x'}>`, says).argParser(decimalNumber)
}

/** commander's name for the value: keepLast for keep-last. */
function keyOf(name: string): string {
  return name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())
}
