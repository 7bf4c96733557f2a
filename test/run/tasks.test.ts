import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readPlanFile } from '../../src/run/planFile.ts'
import { blockpruner } from './commandLine.ts'
import { withTokenizer } from './tinyTask.ts'

const newFolder = () => mkdtempSync(join(tmpdir(), 'tasks-'))
const rows = ['--nsamples', '4', '--seqlen', '32', '--threads', '1']

/** Runs the program and expects it to succeed. */
async function succeed(...args: string[]) {
  const finished = await blockpruner(args)
  expect(finished.code, finished.stderr).toBe(0)
  return finished
}

describe.each([
  ['tiny-random/bert', 'maskedToken', 'masked-LM loss', 'nats per masked token', ['attention', 'mlp']],
  ['tiny-random/t5', 'spanCorruption', 'span-corruption loss', 'nats per target token', 'all'],
  ['tiny-encoders/bert-headless', 'hiddenStates', 'hidden-state distance', '1 - cosine', ['attention', 'mlp']],
] as const)('%s, scored by %s', (path, task, name, unit, kinds) => {
  it('is pruned, inspected and evaluated in the words of its task, never as perplexity', async () => {
    const [model, output] = [withTokenizer(path), newFolder()]
    const evaluation = ['--eval-dataset', 'embedded:test']
    const pruned = await succeed(
      'prune',
      '--model',
      model,
      '--output',
      output,
      '--remove',
      '2',
      '--no-export',
      ...evaluation,
      ...rows,
    )
    const file = await readPlanFile(join(output, 'plan.json'))
    expect(file.task).toBe(task)
    expect(file.options['kinds']).toEqual(kinds === 'all' ? ['attention', 'crossAttention', 'mlp'] : kinds)
    expect(file.dense.perplexity).toBeUndefined()
    expect(file.steps).toHaveLength(2)

    const inspected = await succeed('inspect', output)
    const evaluated = await succeed('evaluate', '--model', model, '--plan', join(output, 'plan.json'), ...rows)
    for (const { stdout } of [pruned, inspected, evaluated]) expect(stdout).toContain(name)
    for (const { stdout } of [inspected, evaluated]) expect(stdout).toContain(unit)
    expect(pruned.stderr).toContain(`dense: ${name} `)
    const said = [pruned, inspected, evaluated].map(({ stdout, stderr }) => stdout + stderr).join('')
    expect(said).not.toMatch(/perplexity/i)
    expect(readFileSync(join(output, 'plan.json'), 'utf8')).not.toContain('perplexity')
  })
})

describe('evaluate', () => {
  it('of an encoder without a head compares sentence embeddings, with their spread', async () => {
    const [model, output] = [withTokenizer('tiny-encoders/bert-headless'), newFolder()]
    await succeed('prune', '--model', model, '--output', output, '--remove', '1', '--no-export', ...rows)
    const { stdout } = await succeed(
      'evaluate',
      '--model',
      model,
      '--plan',
      join(output, 'plan.json'),
      '--json',
      ...rows,
    )
    const { pruned, task } = JSON.parse(stdout)
    expect(task).toBe('hiddenStates')
    expect(pruned.distance).toBeGreaterThan(0)
    expect(pruned.embeddings.sentences).toBe(300)
    expect(pruned.embeddings.meanCosine).toBeGreaterThan(pruned.embeddings.leastCosine)
    expect(pruned.embeddings.meanCosine).toBeLessThan(1)
    expect(pruned.embeddings.deviation).toBeGreaterThan(0)
  })

  it('of an encoder without a head and without a plan says that there is nothing to compare', async () => {
    const { code, stderr } = await blockpruner([
      'evaluate',
      '--model',
      withTokenizer('tiny-encoders/bert-headless'),
      ...rows,
    ])
    expect(code).toBe(1)
    expect(stderr).toMatch(/hidden states move from the dense model's.*give --plan/)
  })
})

describe('--output-norms drop', () => {
  it('takes the norms behind removed branches too: recorded, and honoured by evaluate, apply and the export', async () => {
    const model = withTokenizer('tiny-random/bert')
    const runs = ['keep', 'drop'].map(async (norms) => {
      const output = newFolder()
      const stock = norms === 'drop' ? ['--layout', 'stock'] : ['--no-export']
      const given = ['--output-norms', norms, '--check-rows', '0', '--remove', '2', ...stock]
      await succeed('prune', '--model', model, '--output', output, ...given, ...rows)
      const plan = join(output, 'plan.json')
      const file = await readPlanFile(plan)
      const evaluated = await succeed(
        'evaluate',
        '--model',
        model,
        '--plan',
        plan,
        '--dataset',
        'embedded',
        '--json',
        ...rows,
      )
      expect(JSON.parse(evaluated.stdout).pruned.loss).toBeCloseTo(file.steps.at(-1)!.loss, 10)
      return { output, plan, file }
    })
    const [kept, dropped] = (await Promise.all(runs)) as [Awaited<(typeof runs)[0]>, Awaited<(typeof runs)[0]>]
    expect(kept.file.plan.outputNorms).toBeUndefined()
    expect(dropped.file.plan.outputNorms).toBe('drop')
    expect(kept.file.options).not.toHaveProperty('outputNorms')
    expect(dropped.file.options).toMatchObject({ outputNorms: 'drop' })
    const applied = await succeed(
      'apply',
      '--model',
      model,
      '--plan',
      dropped.plan,
      '--output',
      join(dropped.output, 'again'),
    )
    expect(applied.stdout).toMatch(/(whole|repacked) form, reopened and equal to the plan/)
    const config = (folder: string) => JSON.parse(readFileSync(join(dropped.output, folder, 'config.json'), 'utf8'))
    expect(config('again')).toEqual(config('model'))
    const layers = JSON.parse(readFileSync(join(model, 'config.json'), 'utf8')).num_hidden_layers
    expect(config('model').num_hidden_layers).toBe(layers - 1)
  })

  it('is refused where no norm is behind a branch', async () => {
    const { code, stderr } = await blockpruner([
      'prune',
      '--output',
      newFolder(),
      '--output-norms',
      'drop',
      '--remove',
      '1',
    ])
    expect(code).toBe(1)
    expect(stderr).toMatch(/--output-norms drop: no branch of .* has a norm behind it/)
  })

  it('is what a stock layout of a model with norms behind its branches needs, and the error says so', async () => {
    const given = [
      '--model',
      withTokenizer('tiny-random/bert'),
      '--output',
      newFolder(),
      '--layout',
      'stock',
      '--remove',
      '2',
    ]
    const { code, stderr } = await blockpruner(['prune', ...given, ...rows])
    expect(code).toBe(1)
    expect(stderr).toMatch(/--layout stock: .*take --output-norms drop/)
  })
})
