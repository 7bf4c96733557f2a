import { taskLosses } from '../model/task.ts'
import type { CurvePoint, RunComparison, Series } from './comparison.ts'

const [width, height] = [760, 440]
const plot = { left: 76, right: 536, top: 44, bottom: 384 }

/** Told apart by people who see colours differently (Okabe and Ito). */
const colours = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000', '#8a8a00']
const dashes = ['', '6 3', '2 3', '8 3 2 3']

/**
 * The curves of a comparison as an SVG picture: share of the parameters removed against the loss, with standard errors where they
 * are known. Perplexities stand on a logarithmic axis, since they are exponentials of what is measured.
 */
export function curvesSvg({ title, task, series }: RunComparison): string {
  const points = series.flatMap((one) => one.points)
  const most = Math.max(...points.map(({ ratio }) => ratio), 1e-3)
  const [low, high] = rangeOf(points)
  const x = (ratio: number) => plot.left + (ratio / most) * (plot.right - plot.left)
  const y = (loss: number) => plot.bottom - ((loss - low) / (high - low)) * (plot.bottom - plot.top)
  const isPerplexity = task === 'nextToken'
  const yTicks = isPerplexity ? logTicks(low, high) : linearTicks(low, high).map((at) => [at, shown(at)] as const)
  const { name, unit } = taskLosses[task]
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" font-family="sans-serif" font-size="12">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    text(plot.left, 24, title, 'font-size="14"'),
    ...linearTicks(0, most * 100).map((percent) => xTick(x(percent / 100), shown(percent))),
    ...yTicks.map(([at, label]) => yTick(y(at), label)),
    `<path d="M${plot.left} ${plot.top}V${plot.bottom}H${plot.right}" fill="none" stroke="black"/>`,
    text((plot.left + plot.right) / 2, height - 16, 'parameters removed, %', 'text-anchor="middle"'),
    text(
      0,
      0,
      isPerplexity ? name : `${name}, ${unit}`,
      `text-anchor="middle" transform="translate(20 ${(plot.top + plot.bottom) / 2}) rotate(-90)"`,
    ),
    ...series.flatMap((one, i) => [...curve(one, i, x, y), ...legend(one, i)]),
    '</svg>',
    '',
  ].join('\n')
}

type Scale = (value: number) => number

function curve({ points }: Series, index: number, x: Scale, y: Scale): string[] {
  const colour = colours[index % colours.length]!
  const sorted = [...points].sort((a, b) => a.ratio - b.ratio)
  const path = sorted.map(({ ratio, loss }, i) => `${i === 0 ? 'M' : 'L'}${fixed(x(ratio))} ${fixed(y(loss))}`).join('')
  return [
    `<path d="${path}" fill="none" stroke="${colour}" stroke-width="1.5"${dashOf(index)}/>`,
    ...sorted.flatMap(({ ratio, loss, standardError = 0 }) => [
      ...(standardError > 0
        ? [
            `<path d="M${fixed(x(ratio))} ${fixed(y(loss - standardError))}V${fixed(y(loss + standardError))}" stroke="${colour}" stroke-opacity="0.4"/>`,
          ]
        : []),
      `<circle cx="${fixed(x(ratio))}" cy="${fixed(y(loss))}" r="2" fill="${colour}"/>`,
    ]),
  ]
}

function legend({ name }: Series, index: number): string[] {
  const at = plot.top + 12 + 20 * index
  const line = `<path d="M${plot.right + 16} ${at}h24" stroke="${colours[index % colours.length]}" stroke-width="1.5"${dashOf(index)}/>`
  return [line, text(plot.right + 46, at + 4, name)]
}

/** Runs beyond the colours there are get a dash. */
function dashOf(index: number): string {
  const dash = dashes[Math.floor(index / colours.length) % dashes.length]!
  return dash === '' ? '' : ` stroke-dasharray="${dash}"`
}

function rangeOf(points: readonly CurvePoint[]): readonly [low: number, high: number] {
  const ends = points.flatMap(({ loss, standardError = 0 }) => [loss - standardError, loss + standardError])
  const [low, high] = [Math.min(...ends), Math.max(...ends)]
  const margin = Math.max(0.04 * (high - low), 1e-6)
  return [low - margin, high + margin]
}

/** Round numbers of `low`..`high`, some six of them. */
function linearTicks(low: number, high: number): number[] {
  const rough = (high - low) / 6
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough) ?? 10 * power
  const first = Math.ceil(low / step - 1e-9)
  const last = Math.floor(high / step + 1e-9)
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => (first + i) * step)
}

/** Round perplexities at their logarithms; on a short axis those of equal distance. */
function logTicks(low: number, high: number): (readonly [at: number, label: string])[] {
  const [from, to] = [Math.exp(low), Math.exp(high)]
  const decades = Array.from({ length: 12 }, (_, i) => 10 ** (i - 1))
  const round = decades.flatMap((decade) => [1, 2, 5].map((digit) => digit * decade))
  const inside = round.filter((value) => value >= from && value <= to)
  return (inside.length >= 3 ? inside : linearTicks(from, to)).map((value) => [Math.log(value), shown(value)])
}

const xTick = (at: number, label: string) =>
  `<path d="M${fixed(at)} ${plot.bottom}v5" stroke="black"/>${text(at, plot.bottom + 18, label, 'text-anchor="middle"')}`

const yTick = (at: number, label: string) =>
  `<path d="M${plot.left} ${fixed(at)}H${plot.right}" stroke="#dddddd"/>${text(plot.left - 8, at + 4, label, 'text-anchor="end"')}`

const text = (x: number, y: number, content: string, attributes = '') =>
  `<text x="${fixed(x)}" y="${fixed(y)}"${attributes && ` ${attributes}`}>${escaped(content)}</text>`

const fixed = (value: number): string => `${Number(value.toFixed(2))}`

const shown = (value: number): string => `${Number(value.toPrecision(4))}`

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }

const escaped = (value: string): string => value.replace(/[&<>"]/g, (character) => entities[character]!)
