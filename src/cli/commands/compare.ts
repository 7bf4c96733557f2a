import { Command, InvalidArgumentError, Option } from 'commander'
import { cellsOf, compareAt } from '../../report/comparison.ts'
import { comparisonCsv, latexTable, markdownTable } from '../../report/tableFormats.ts'
import { compareRuns, writeCurves } from '../../run/compareRuns.ts'
import type { Interruption } from '../interruption.ts'
import { decimalNumber } from '../options.ts'
import { table } from '../table.ts'

type TableFormat = 'text' | 'markdown' | 'csv' | 'latex'

interface CompareOptions {
  readonly text?: string
  readonly at?: number[]
  readonly format: TableFormat
  readonly svg?: string
  readonly force?: true
}

/** `blockpruner compare`: methods side by side at equal parameters. */
export function compareCommand(_: Interruption): Command {
  return new Command('compare')
    .description('compare runs of one model at equal parameters: a table, and the curves as a picture')
    .argument('<run...>', 'run directories or their plan.json')
    .option('--text <source>', 'the text of the curves that evaluate --curve wrote (default: one that all runs have)')
    .option('--at <list>', 'shares of the parameters removed, 0..1 (default: every 5 % that all reach)', shares)
    .addOption(
      new Option('--format <name>', 'of the table').choices(['text', 'markdown', 'csv', 'latex']).default('text'),
    )
    .option('--svg <file>', 'write the curves to this picture')
    .option('--force', 'replace what stands at --svg, whatever it is')
    .option('--debug', 'print the stack of an error')
    .action(async (runs: string[], { text, at, format, svg, force }: CompareOptions) => {
      const comparison = await compareRuns({ runs, text })
      if (comparison.note !== undefined) process.stderr.write(`note: ${comparison.note}\n`)
      const rows = compareAt(comparison, at)
      const cells = cellsOf(comparison, rows)
      const written: Record<TableFormat, () => string> = {
        text: () =>
          `${comparison.title}\n\n${table(cells)}\n\nof each run the first model that lost at least so much, in brackets how much it lost`,
        markdown: () => markdownTable(cells),
        csv: () => comparisonCsv(comparison, rows),
        latex: () => latexTable(cells),
      }
      process.stdout.write(`${written[format]()}\n`)
      if (svg === undefined) return
      await writeCurves(svg, comparison, force)
      process.stderr.write(`curves: ${svg}\n`)
    })
}

function shares(text: string): number[] {
  return text.split(',').map((part) => {
    const share = decimalNumber(part.trim())
    if (share < 0 || share >= 1) throw new InvalidArgumentError(`Expected shares from 0 to 1, found ${part.trim()}.`)
    return share
  })
}
