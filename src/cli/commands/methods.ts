import { Command } from 'commander'
import type { Method } from '../../methods/method.ts'
import type { MethodOption } from '../../methods/options.ts'
import { methodNamed, methods, searches } from '../../methods/registry.ts'
import type { Interruption } from '../interruption.ts'
import { optionOf } from '../methodOptions.ts'
import { table } from '../table.ts'

/** `blockpruner methods`: what `prune --method` and `--search` take, and the options of one of them. */
export function methodsCommand(_: Interruption): Command {
  return new Command('methods')
    .description('list the pruning methods and searches, or the options of one')
    .argument('[name]', 'a method or a search')
    .option('--json', 'print it as JSON')
    .option('--debug', 'print the stack of an error')
    .action((name: string | undefined, options: { json?: true }) => {
      const asked = name === undefined ? [...methods, ...searches] : [methodNamed(name)]
      const text = name === undefined ? listText() : ownText(asked[0]!)
      process.stdout.write(`${options.json ? JSON.stringify(asked.map(described)) : text}\n`)
    })
}

function described({ name, role, title, paper, unit, cost, note, options }: Method) {
  return { name, role, title, ...(paper && { paper }), unit, cost, ...(note && { note }), options }
}

function listText(): string {
  const rows = (of: readonly Method[]) =>
    of.map(({ name, paper = '', unit, cost, note = '' }) => [name, paper, unit, cost, note])
  return [
    table([['method', 'paper', 'removes', 'cost (n blocks, l layers left)', 'note'], ...rows(methods)]),
    '',
    table([
      ['search', 'paper', 'cost (n blocks left)'],
      ...searches.map(({ name, paper = '', cost }) => [name, paper, cost]),
    ]),
    '',
    'the options of one: blockpruner methods NAME',
  ].join('\n')
}

function ownText({ name, title, paper, unit, cost, note, options, role }: Method): string {
  const rows = Object.entries(options).map(([option, what]) => [
    optionOf(option, what).flags,
    valuesOf(what),
    what.says,
  ])
  return [
    `${title}${paper === undefined ? '' : `, ${paper}`}: blockpruner prune --${role} ${name}`,
    `removes: ${unit}`,
    `cost: ${cost}`,
    ...(note === undefined ? [] : [`note: ${note}`]),
    '',
    rows.length === 0 ? 'no options of its own' : table([['option', 'values, the default first', 'meaning'], ...rows]),
  ].join('\n')
}

function valuesOf(option: MethodOption): string {
  if (option.type === 'choice') {
    const others = option.choices.filter((choice) => choice !== option.default)
    return [option.default, ...others, ...(option.orPlan ? ['plan.json'] : [])].join(', ')
  }
  if (option.type === 'number') return `${option.default ?? 'off'}, ${option.from} to ${option.to}`
  if (option.type === 'list') return 'names, with commas between'
  return option.default ? 'on, off' : 'off, on'
}
