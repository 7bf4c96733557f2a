import type { ComparedRow, RunComparison } from './comparison.ts'

/** Cells as a table of Markdown, the first row its heading. */
export function markdownTable([heading = [], ...rows]: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  const rule = heading.map((_, column) => (column === 0 ? ':---' : '---:'))
  return [line(heading), line(rule), ...rows.map(line)].join('\n')
}

/** Cells as a tabular of LaTeX, the first row its heading; needs the package booktabs. */
export function latexTable([heading = [], ...rows]: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `  ${cells.map(latexText).join(' & ')} \\\\`
  return [
    `\\begin{tabular}{l${'r'.repeat(Math.max(0, heading.length - 1))}}`,
    '  \\toprule',
    line(heading),
    '  \\midrule',
    ...rows.map(line),
    '  \\bottomrule',
    '\\end{tabular}',
  ].join('\n')
}

const latexCharacters: Readonly<Record<string, string>> = {
  '\\': '\\textbackslash{}',
  '~': '\\textasciitilde{}',
  '^': '\\textasciicircum{}',
  '—': '---',
}

function latexText(text: string): string {
  return text.replace(/[\\~^—&%$#_{}]/g, (character) => latexCharacters[character] ?? `\\${character}`)
}

/** The same comparison for a program: a run and a share a line, numbers unrounded. */
export function comparisonCsv({ task, series }: RunComparison, rows: readonly ComparedRow[]): string {
  const heading = ['share', 'run', 'step', 'removed', 'parameters', 'loss', 'perplexity', 'standard_error']
  const lines = rows.flatMap(({ share, points }) =>
    points.flatMap((point, i) => {
      if (point === undefined) return []
      const perplexity = task === 'nextToken' ? Math.exp(point.loss) : ''
      const { step, ratio, parameters, loss, standardError = '' } = point
      return [[share, series[i]!.name, step, ratio, parameters, loss, perplexity, standardError]]
    }),
  )
  return [heading, ...lines].map((line) => line.map((value) => csvField(`${value}`)).join(',')).join('\n')
}

function csvField(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
