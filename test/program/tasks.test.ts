import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { embeddedTexts } from '../../src/data/embeddedText.ts'
import { applyPlanFile } from '../../src/run/applyPlanFile.ts'
import { evaluateModel } from '../../src/run/evaluateModel.ts'
import { readPlanFile } from '../../src/run/planFile.ts'
import { pruneModel } from '../../src/run/pruneModel.ts'
import type { PruneModelRequest } from '../../src/run/pruneRequest.ts'
import { expectError } from '../measured.ts'
import { withTokenizer } from '../run/tinyTask.ts'
import { blockpruner } from './commandLine.ts'

const newFolder = () => mkdtempSync(join(tmpdir(), 'tasks-'))
const rows = { dataset: 'embedded', nsamples: 4, seqlen: 32, seed: 42 }

/** Runs the program and expects it to succeed. */
async function succeed(command: string) {
  const finished = await blockpruner(`${command} --threads 1`.split(' '))
  expect(finished.code, finished.stderr).toBe(0)
  return finished
}

const pruned = (model: string, given: Partial<PruneModelRequest> = {}) =>
  pruneModel({
    model,
    output: newFolder(),
    budget: { remove: 2 },
    calibration: rows,
    seed: 42,
    export: false,
    ...given,
  })

describe.each([
  ['tiny-random/bert', 'maskedToken', 'masked-LM loss', 'nats per masked token', ['attention', 'mlp']],
  ['tiny-random/t5', 'spanCorruption', 'span-corruption loss', 'nats per target token', 'all'],
  ['tiny-encoders/bert-headless', 'hiddenStates', 'hidden-state distance', '1 - cosine', ['attention', 'mlp']],
] as const)('%s, scored by %s', (path, task, name, unit, kinds) => {
  it('is pruned, inspected and evaluated in the words of its task, never as perplexity', async () => {
    const [model, output] = [withTokenizer(path), newFolder()]
    const size = '--nsamples 4 --seqlen 32'
    const run = await succeed(
      `prune --model ${model} --output ${output} --remove 2 --no-export --eval-dataset embedded:test ${size}`,
    )
    const file = await readPlanFile(join(output, 'plan.json'))
    expect(file.task).toBe(task)
    expect(file.options['kinds']).toEqual(kinds === 'all' ? ['attention', 'crossAttention', 'mlp'] : kinds)
    expect(file.dense.perplexity).toBeUndefined()
    expect(file.steps).toHaveLength(2)

    const inspected = await blockpruner(['inspect', output])
    const evaluated = await succeed(`evaluate --model ${model} --plan ${output}/plan.json ${size}`)
    for (const { stdout } of [run, inspected, evaluated]) expect(stdout).toContain(name)
    for (const { stdout } of [inspected, evaluated]) expect(stdout).toContain(unit)
    expect(run.stderr).toContain(`dense: ${name} `)
    const said = [run, inspected, evaluated].map(({ stdout, stderr }) => stdout + stderr).join('')
    expect(said).not.toMatch(/perplexity/i)
    expect(readFileSync(join(output, 'plan.json'), 'utf8')).not.toContain('perplexity')
  })
})

describe('evaluating a plan', () => {
  it('goes by what the plan was searched by', async () => {
    const model = withTokenizer('tiny-random/bert')
    const { planPath } = await pruned(model, { calibration: { ...rows, task: 'hiddenStates' } })
    expect(await evaluateModel({ model, plan: planPath, rows })).toMatchObject({ task: 'hiddenStates' })
    const asked = { ...rows, task: 'maskedToken' } as const
    expect(await evaluateModel({ model, plan: planPath, rows: asked })).toMatchObject({ task: 'maskedToken' })
  })

  it('of an encoder-decoder compares the states of its decoder, which reads the text too', async () => {
    const model = withTokenizer('tiny-random/bart')
    const {
      planPath,
      file,
      export: written,
    } = await pruned(model, {
      calibration: { ...rows, task: 'hiddenStates' },
      budget: { remove: 1 },
      export: true,
    })
    expect(file.steps[0]!.loss).toBeGreaterThan(0)
    expectError(written!.difference, 0)
    const result = await evaluateModel({ model, plan: planPath, rows })
    if (result.task !== 'hiddenStates') throw new Error(`scored by ${result.task}`)
    expect(result.pruned.distance).toBeCloseTo(file.steps[0]!.loss, 10)
  })

  it('on a single row has no standard error', async () => {
    const { stdout } = await succeed('evaluate --nsamples 1 --seqlen 32')
    expect(stdout).toMatch(/standard error +—/)
  })
})

describe('evaluating an encoder without a head', () => {
  it('compares sentence embeddings, with their spread', async () => {
    const model = withTokenizer('tiny-encoders/bert-headless')
    const { planPath, file } = await pruned(model, { budget: { remove: 1 } })
    const result = await evaluateModel({ model, plan: planPath, rows })
    if (result.task !== 'hiddenStates') throw new Error(`scored by ${result.task}`)
    expect(result.pruned.distance).toBeCloseTo(file.steps[0]!.loss, 10)
    const { sentences, meanCosine, leastCosine, deviation } = result.pruned.embeddings!
    expect(sentences).toBe(300)
    expect(leastCosine).toBeLessThan(meanCosine)
    expect(meanCosine).toBeLessThan(1)
    expect(deviation).toBeGreaterThan(0)
  })

  it('says without a plan that there is nothing to compare', async () => {
    const model = withTokenizer('tiny-encoders/bert-headless')
    await expect(evaluateModel({ model, rows })).rejects.toThrow(/move from the dense model's.*give --plan/)
  })

  it('is part of pruning it: its export reopens with the same hidden states', async () => {
    const { export: written } = await pruned(withTokenizer('tiny-encoders/bert-headless'), {
      budget: { remove: 2 },
      searching: { layout: 'stock', checkRows: 0 },
      outputNorms: 'drop',
      export: true,
      evaluation: { ...rows, dataset: 'embedded:test' },
    })
    expectError(written!.difference, 0)
  })
})

describe('dropping the norms behind removed branches', () => {
  it('is recorded, and honoured by evaluate, apply and the export', async () => {
    const model = withTokenizer('tiny-random/bert')
    const kept = await pruned(model)
    const output = newFolder()
    const stock = { output, outputNorms: 'drop', searching: { layout: 'stock', checkRows: 0 }, export: true } as const
    const dropped = await pruned(model, stock)
    expect(kept.file.plan.outputNorms).toBeUndefined()
    expect(kept.file.options).not.toHaveProperty('outputNorms')
    expect(dropped.file.plan.outputNorms).toBe('drop')
    expect(dropped.file.options).toMatchObject({ outputNorms: 'drop' })
    for (const { planPath, file } of [kept, dropped]) {
      const result = await evaluateModel({ model, plan: planPath, rows })
      if (result.task !== 'maskedToken') throw new Error(`scored by ${result.task}`)
      expect(result.pruned!.loss).toBeCloseTo(file.steps.at(-1)!.loss, 10)
    }
    await applyPlanFile({ model, plan: dropped.planPath, output: join(output, 'again') })
    const config = (folder: string) => JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'))
    expect(config(join(output, 'again'))).toEqual(config(join(output, 'model')))
    expect(config(join(output, 'model')).num_hidden_layers).toBe(config(model).num_hidden_layers - 1)
  })

  it('is refused where no norm is behind a branch', async () => {
    await expect(pruned('embedded', { outputNorms: 'drop' })).rejects.toThrow(
      /--output-norms drop: no branch of .* has a norm behind it/,
    )
  })

  it('is what a stock layout of a model with norms behind its branches needs, and the error says so', async () => {
    const stock = { searching: { layout: 'stock' } } as const
    await expect(pruned(withTokenizer('tiny-random/bert'), stock)).rejects.toThrow(
      /--layout stock: .*--output-norms drop/,
    )
  })
})

describe('the same rows in another format', () => {
  it('give the same loss', async () => {
    const folder = newFolder()
    const texts = readFileSync(embeddedTexts.test.path, 'utf8').split('\n\n').slice(0, 12)
    const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`
    const csv = `label,body\n${texts.map((text) => `7,${quoted(text)}\n`).join('')}`
    writeFileSync(join(folder, 'rows.csv'), csv)
    writeFileSync(join(folder, 'rows.jsonl'), texts.map((body) => JSON.stringify({ label: 7, body })).join('\n'))
    const loss = async (name: string) => {
      const evaluated = `evaluate --dataset ${join(folder, name)} --column body --nsamples 4 --seqlen 64 --json`
      return JSON.parse((await succeed(evaluated)).stdout).dense as unknown
    }
    expect(await loss('rows.csv')).toEqual(await loss('rows.jsonl'))
  })
})

describe('a model without a tokenizer', () => {
  it.each(['tiny-random/llama', 'tiny-random/bert', 'tiny-random/t5', 'tiny-encoders/bert-headless'])(
    '%s is scored as its error advises',
    async (path) => {
      const [model, folder] = [resolve(import.meta.dirname, '../fixtures', path), newFolder()]
      const size = ['--model', model, '--nsamples', '4', '--seqlen', '16', '--threads', '1']
      const refused = await blockpruner(['prune', '--output', join(folder, 'refused'), ...size])
      expect(refused.code).toBe(1)
      expect(refused.stderr).toContain(
        'pass the ids with --tokens, with --task hiddenStates where the model predicts no next token',
      )
      writeFileSync(
        join(folder, 'ids.json'),
        JSON.stringify({ ids: Array.from({ length: 64 }, (_, i) => 5 + (i % 50)) }),
      )
      const advised = ['--tokens', join(folder, 'ids.json'), '--task', 'hiddenStates']
      await succeed(['prune', '--output', folder, '--remove', '1', '--no-export', ...size, ...advised].join(' '))
      const { pruned: measured } = JSON.parse(
        (await succeed(['evaluate', '--plan', `${folder}/plan.json`, '--json', ...size, ...advised].join(' '))).stdout,
      )
      expect(measured.distance).toBeGreaterThan(0)
    },
  )
})
