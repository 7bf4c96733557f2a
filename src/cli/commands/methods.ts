import { Command } from 'commander'
import type { Method } from '../../methods/method.ts'
import type { MethodOption } from '../../methods/options.ts'
import { methods } from '../../methods/registry.ts'
import type { Interruption } from '../interruption.ts'
import { table } from '../table.ts'

/** `blockpruner methods`: what `prune --method` takes. */
export function methodsCommand(_: Interruption): Command {
  return new Command('methods')
    .description('list the pruning methods with paper, unit, cost and options')
    .option('--json', 'print the list as JSON')
    .action((options: { json?: true }) => {
      process.stdout.write(`${options.json ? JSON.stringify(methods.map(described)) : textOf()}\n`)
    })
}

function described({ name, title, paper, unit, cost, options }: Method) {
  return { name, title, ...(paper && { paper }), unit, cost, options }
}

function textOf(): string {
  const rows = methods.map(({ name, paper = '', unit, cost, options }) => [
    name,
    paper,
    unit,
    cost,
    Object.entries(options)
      .map(([option, { type }]) => flagOf(option, type))
      .join(' '),
  ])
  const options = methods.flatMap(({ name, options }) =>
    Object.entries(options).map(([option, what]) => [name, flagOf(option, what.type), valuesOf(what), what.says]),
  )
  return [
    table([['method', 'paper', 'removes', 'cost (n blocks, l layers left)', 'options'], ...rows]),
    '',
    table([['method', 'option', 'values, the default first', 'meaning'], ...options]),
  ].join('\n')
}

function flagOf(name: string, type: MethodOption['type']): string {
  return type === 'flag' ? `--no-${name}` : `--${name}`
}

function valuesOf(option: MethodOption): string {
  if (option.type === 'choice') {
    return [option.default, ...option.choices.filter((choice) => choice !== option.default)].join(', ')
  }
  if (option.type === 'number') return `${option.default ?? 'off'}, ${option.from} to ${option.to}`
  return option.default ? 'on, off' : 'off, on'
}
