import { Command } from 'commander'
import { shownLoss, taskLosses } from '../../model/task.ts'
import { type PlanFile, readPlanFile } from '../../run/planFile.ts'
import type { Interruption } from '../interruption.ts'
import { table } from '../table.ts'

/** `blockpruner inspect`: what a run removed, step by step. */
export function inspectCommand(_: Interruption): Command {
  return new Command('inspect')
    .description('show what a plan removes, step by step')
    .argument('<plan-or-run>', 'plan.json or a run directory')
    .option('--json', 'print the plan as JSON')
    .option('--debug', 'print the stack of an error')
    .action(async (path: string, options: { json?: true }) => {
      const file = await readPlanFile(path)
      process.stdout.write(`${options.json ? JSON.stringify(file) : textOf(file)}\n`)
    })
}

function textOf(file: PlanFile): string {
  const { model, calibration, dense, task = 'nextToken' } = file
  const { name, unit } = taskLosses[task]
  return [
    `${model.id} (${model.modelType}, ${model.parameters} parameters), ${file.method}${file.complete ? '' : ', unfinished'}`,
    `calibration: ${calibration.source}, ${calibration.rows} rows of ${calibration.rowLength} tokens, BOS: ${calibration.bos}, seed ${file.seed}`,
    ...(calibration.prediction === undefined ? [] : [`predicted: ${calibration.prediction}`]),
    '',
    stepTable(file),
    '',
    strip(file),
    '',
    `dense ${name} ${shownLoss(task, dense.loss)}${dense.check ? `, on the check rows ${shownLoss(task, dense.check.loss)}` : ''}; losses are ${unit}, margins the runner-up's loss minus the chosen one's${file.steps.some(({ runnerUp }) => runnerUp?.estimated) ? '; ~ by an estimate of it' : ''}`,
  ].join('\n')
}

function stepTable({ dense, steps, task = 'nextToken' }: PlanFile): string {
  // perplexities are compared by their ratio, losses by their difference
  const above = (loss: number) =>
    task === 'nextToken' ? Math.exp(loss - dense.loss).toFixed(3) : (loss - dense.loss).toFixed(5)
  return table([
    [
      'step',
      'removed',
      taskLosses[task].name,
      task === 'nextToken' ? '× dense' : 'above dense',
      ...(dense.check ? ['on check rows'] : []),
      'runner-up',
      'margin',
      'parameters',
      'removed %',
    ],
    ...steps.map((step, i) => [
      `${i + 1}`,
      step.removed.join(' '),
      shownLoss(task, step.loss),
      above(step.loss),
      ...(dense.check ? [step.check ? shownLoss(task, step.check.loss) : '—'] : []),
      step.runnerUp?.block ?? '—',
      marginText(step),
      `${step.parameters}`,
      (step.ratio * 100).toFixed(1),
    ]),
  ])
}

/** An estimated margin is marked. */
function marginText({ margin, runnerUp }: PlanFile['steps'][number]): string {
  if (margin === undefined) return '—'
  return `${runnerUp?.estimated ? '~' : ''}${margin.toFixed(5)}`
}

/** Columns of a terminal. */
const lineLength = 80

/** One row a kind, one column a layer: the step that removed the block, or a dot where it stays; below each other where too wide. */
function strip({ model, steps }: PlanFile): string {
  const stepOf = new Map<string, number>(steps.flatMap(({ removed }, i) => removed.map((id) => [id, i + 1] as const)))
  const places = [...stepOf.keys()].map((id) => id.split('.') as [string, string, string])
  const stacks = [...new Set(places.map(([stack, , kind]) => `${stack}.${kind}`))].sort()
  const deepest = Math.max(0, ...places.map(([, layer]) => Number(layer))) + 1
  const depths = new Map<string, number | undefined>(Object.entries(model.layers ?? {}))
  const depthOf = (name: string) => depths.get(name.split('.')[0]!)
  const layers = Array.from({ length: Math.max(deepest, ...stacks.map((name) => depthOf(name) ?? 0)) }, (_, i) => i)
  const partOf = (part: readonly number[]) =>
    table([
      ['layer', ...part.map(String)],
      ...stacks.map((name) => {
        const [stack, kind] = name.split('.')
        const isThere = (layer: number) => layer < (depthOf(name) ?? layers.length)
        const cell = (layer: number) => `${stepOf.get(`${stack}.${layer}.${kind}`) ?? ' .'}`
        return [name, ...part.map((layer) => (isThere(layer) ? cell(layer) : ''))]
      }),
    ])
  const nameLength = Math.max('layer'.length, ...stacks.map(({ length }) => length))
  const cellLength = 2 + Math.max(2, `${layers.length - 1}`.length, `${steps.length}`.length)
  const perLine = Math.max(1, Math.floor((lineLength - nameLength) / cellLength))
  const parts = Math.ceil(layers.length / perLine)
  // lines of about equal length
  const size = Math.ceil(layers.length / parts)
  return Array.from({ length: parts }, (_, i) => partOf(layers.slice(i * size, (i + 1) * size))).join('\n\n')
}
