import { cpSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { readPlanFile } from '../../src/run/planFile.ts'
import { goldenChat } from '../data/goldenChat.ts'
import { blockpruner } from './commandLine.ts'

const folder = mkdtempSync(join(tmpdir(), 'chat-'))
const embedded = resolve(import.meta.dirname, '../../models/brown-llama')
const model = join(folder, 'model')
const rows = join(folder, 'rows.jsonl')
const alpaca = join(folder, 'alpaca.csv')

beforeAll(() => {
  cpSync(embedded, model, { recursive: true })
  writeFileSync(join(model, 'chat_template.jinja'), goldenChat.templates['chatml']!)
  writeFileSync(rows, goldenChat.conversations.map((messages) => JSON.stringify({ messages })).join('\n'))
  writeFileSync(alpaca, 'instruction,input,output\nName a city.,,Atlanta\nAdd.,1 and 1,two\n')
})

async function evaluated(...options: string[]) {
  const finished = await blockpruner(['evaluate', '--threads', '1', '--json', ...options])
  expect(finished.code, finished.stderr).toBe(0)
  return JSON.parse(finished.stdout)
}

describe('conversations', () => {
  it('are evaluated on every token or on the answers, which are fewer', async () => {
    const chat = ['--model', model, '--dataset', rows, '--nsamples', '4']
    const [all, answers] = [await evaluated(...chat), await evaluated(...chat, '--loss-on', 'answers')]
    const golden = goldenChat.cases.find(({ tokenizer }) => tokenizer === 'brown-llama')!.encoded
    expect(all.dense.predictedTokens).toBe(golden.reduce((sum, { ids }) => sum + ids.length - 1, 0))
    expect(answers.dense.predictedTokens).toBe(golden.reduce((sum, g) => sum + g.answers.filter(Boolean).length, 0))
    expect(answers.dense.natsPerToken).not.toBe(all.dense.natsPerToken)
    expect(answers.prediction).toBe('the answers of 4 conversations, by the chat template')
  })

  it('calibrate a run, whose plan says what was predicted', async () => {
    const output = join(folder, 'run')
    const chat = `--model ${model} --dataset ${rows} --nsamples 4 --loss-on answers`
    const evaluation = '--eval-dataset embedded:test --eval-nsamples 2 --eval-seqlen 32'
    const run = `prune ${chat} ${evaluation} --eval-loss-on all --output ${output} --remove 1 --no-export --threads 1`
    const finished = await blockpruner(run.split(' '))
    expect(finished.code, finished.stderr).toBe(0)
    const file = await readPlanFile(join(output, 'plan.json'))
    expect(file.calibration.prediction).toBe('the answers of 4 conversations, by the chat template')
    const { dense } = await evaluated(...chat.split(' '))
    expect(file.dense.loss).toBeCloseTo(Math.log(dense.sequenceMean), 5)
  })

  it('of a question and its answer need no template', async () => {
    const few = ['--dataset', alpaca, '--nsamples', '2', '--loss-on', 'answers']
    const [plain, byTemplate] = [
      await evaluated(...few, '--model', embedded),
      await evaluated(...few, '--model', model),
    ]
    expect(plain.prediction).toBe('the answers of 2 conversations, without a chat template')
    expect(byTemplate.prediction).toBe('the answers of 2 conversations, by the chat template')
  })

  it('are refused with a cure that works by a model without a template, and answers of a text that has none', async () => {
    const few = ['evaluate', '--threads', '1', '--nsamples', '2']
    const turns = await blockpruner([...few, '--dataset', rows])
    expect(turns.code).toBe(1)
    expect(turns.stderr).toContain('the model has no chat template; put its chat_template.jinja beside tokenizer.json')
    const text = await blockpruner([...few, '--loss-on', 'answers'])
    expect(text.code).toBe(2)
    expect(text.stderr).toContain('--loss-on answers: brown:test holds plain texts, which have no answers')
  })
})
