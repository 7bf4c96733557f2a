import { describe, expect, it } from 'vitest'
import { cellsOf, compareAt, type RunComparison } from '../../src/report/comparison.ts'
import { curvesSvg } from '../../src/report/curvesSvg.ts'
import { comparisonCsv, latexTable, markdownTable } from '../../src/report/tableFormats.ts'

const point = (step: number, ratio: number, loss: number) => ({ step, ratio, loss, parameters: 1000 - 1000 * ratio })

const comparison: RunComparison = {
  title: 'model on <text> & more',
  task: 'nextToken',
  series: [
    { name: 'sleb', points: [point(0, 0, 2), point(1, 0.06, 2.5), point(2, 0.12, 3)] },
    { name: 'short_gpt, "b"', points: [point(0, 0, 2), { ...point(1, 0.05, 2.25), standardError: 0.125 }] },
  ],
}
const shown = (loss: number) => Math.exp(loss).toFixed(3)

describe('runs at equal parameters', () => {
  it('are compared where each first lost as much, nothing interpolated', () => {
    const rows = compareAt(comparison, [0, 0.05, 0.1])
    expect(rows.map(({ points }) => points.map((found) => found?.step))).toEqual([
      [0, 0],
      [1, 1],
      [2, undefined],
    ])
    expect(cellsOf(comparison, rows)).toEqual([
      ['perplexity at', 'sleb', 'short_gpt, "b"'],
      ['0.0 %', `${shown(2)} (0.0 %)`, `${shown(2)} (0.0 %)`],
      ['5.0 %', `${shown(2.5)} (6.0 %)`, `${shown(2.25)} (5.0 %)`],
      ['10.0 %', `${shown(3)} (12.0 %)`, '—'],
    ])
  })

  it('are compared at every 5 %, or 1 %, that all reach', () => {
    expect(compareAt(comparison).map(({ share }) => share)).toEqual([0, 0.05])
    const short = { ...comparison, series: [{ name: 'a', points: [point(0, 0, 2), point(1, 0.025, 2)] }] }
    expect(compareAt(short).map(({ share }) => share)).toEqual([0, 0.01, 0.02])
    expect(() => compareAt(comparison, [0.5])).toThrow(
      '--at 0.5: no run removed so much, expected shares of at most 0.120',
    )
  })

  it('take the state that lost least where a search puts blocks back', () => {
    const points = [point(0, 0, 2), point(1, 0.2, 4), point(2, 0.1, 3)]
    expect(compareAt({ ...comparison, series: [{ name: 'swap', points }] }, [0.05])[0]!.points[0]!.step).toBe(2)
  })
})

describe('a table', () => {
  const cells = cellsOf(comparison, compareAt(comparison, [0.05]))

  it('is Markdown', () => {
    expect(
      markdownTable([
        ['a|b', 'c'],
        ['1', '2'],
      ]),
    ).toBe('| a\\|b | c |\n| :--- | ---: |\n| 1 | 2 |')
  })

  it('is LaTeX, special characters escaped', () => {
    const latex = latexTable(cells)
    expect(latex).toContain('\\begin{tabular}{lrr}')
    expect(latex).toContain('  perplexity at & sleb & short\\_gpt, "b" \\\\')
    expect(latex).toContain(`  5.0 \\% & ${shown(2.5)} (6.0 \\%) &`)
  })

  it('is CSV with unrounded numbers, a run and a share a line', () => {
    expect(comparisonCsv(comparison, compareAt(comparison, [0.05])).split('\n')).toEqual([
      'share,run,step,removed,parameters,loss,perplexity,standard_error',
      `0.05,sleb,1,0.06,940,2.5,${Math.exp(2.5)},`,
      `0.05,"short_gpt, ""b""",1,0.05,950,2.25,${Math.exp(2.25)},0.125`,
    ])
  })
})

describe('the picture', () => {
  const svg = curvesSvg(comparison)
  /** x and y of the circles, in the order drawn. */
  const circles = [...svg.matchAll(/<circle cx="([\d.]+)" cy="([\d.]+)"/g)].map(([, x, y]) => [Number(x), Number(y)])

  it('has a point for each state, to the right the more is removed, higher the larger the loss', () => {
    expect(circles).toHaveLength(5)
    const [dense, first, second] = circles as [number[], number[], number[]]
    expect(first[0]! - dense[0]!).toBeCloseTo(second[0]! - first[0]!, 1)
    // losses 2, 2.5 and 3 are equally far apart: the axis of perplexities is logarithmic
    expect(dense[1]! - first[1]!).toBeCloseTo(first[1]! - second[1]!, 1)
    expect(dense[1]!).toBeGreaterThan(second[1]!)
  })

  it('is well-formed and says what it shows', () => {
    expect(svg).toContain('<title>model on &lt;text&gt; &amp; more</title>')
    expect(svg).toContain('>short_gpt, &quot;b&quot;</text>')
    const opened = [...svg.matchAll(/<(\w+)(?:\s[^>]*[^/])?>/g)].map(([, name]) => name)
    const closed = [...svg.matchAll(/<\/(\w+)>/g)].map(([, name]) => name)
    expect(opened.toSorted()).toEqual(closed.toSorted())
    for (const label of ['8', '10', '12']) expect(svg).toContain(`>${label}</text>`)
  })

  it('draws one state and equal losses as well', () => {
    for (const points of [[point(0, 0, 2)], [point(0, 0, 2), point(1, 0.1, 2)]]) {
      const drawn = curvesSvg({ ...comparison, series: [{ name: 'a', points }] })
      expect(drawn).not.toMatch(/NaN|Infinity/)
    }
  })
})
