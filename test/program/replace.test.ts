import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { blockpruner } from './commandLine.ts'

const fixtures = resolve(import.meta.dirname, '../fixtures/tiny-random')
const folder = mkdtempSync(join(tmpdir(), 'replace-'))
const run = join(folder, 'run')
const search = ['--method', 'drop-tail', '--remove', '2', '--nsamples', '1', '--seqlen', '32', '--quiet']
const formats = ['huggingface', 'gguf', 'onnx', 'nemotron', 'mergekit']

const apply = (output: string, ...options: string[]) =>
  blockpruner(['apply', '--plan', join(run, 'plan.json'), '--output', output, '--no-verify', '--quiet', ...options])

/** Exit code and error of a command that must not have touched `path`. */
async function refused(path: string, command: ReturnType<typeof blockpruner>): Promise<void> {
  const { code, stderr } = await command
  expect([code, stderr]).toEqual([1, expect.stringMatching(/, or replace it with --force/)])
  expect(stderr).toContain(path)
}

beforeAll(async () => {
  vi.stubEnv('BLOCKPRUNER_PYTHON', '/nowhere/python')
  const { code } = await blockpruner(['prune', '--output', run, ...search, '--no-export'])
  expect(code).toBe(0)
}, 60_000)

describe('apply', () => {
  it.each(formats)('replaces no file of others with %s, unless it is forced', async (format) => {
    const path = join(folder, `thesis-${format}.${format === 'gguf' ? 'gguf' : 'txt'}`)
    writeFileSync(path, 'mine')
    await refused(path, apply(path, '--format', format))
    expect(readFileSync(path, 'utf8')).toBe('mine')
    if (format !== 'gguf') return
    expect((await apply(path, '--format', format, '--force')).code).toBe(0)
    expect(readFileSync(path).subarray(0, 4).toString()).toBe('GGUF')
    const { code, stderr } = await apply(join(folder, 'thesis.txt'), '--format', format, '--force')
    expect([code, stderr]).toEqual([1, expect.stringMatching(/expected a name that ends in \.gguf/)])
  })

  it.each(formats)('replaces an export of the same plan as %s, and none of another plan or model', async (format) => {
    const path = join(folder, `same-${format}${format === 'mergekit' ? '.yaml' : format === 'gguf' ? '.gguf' : ''}`)
    const steps = ['--format', format, '--steps', '0']
    expect(await apply(path, ...steps)).toMatchObject({ code: 0 })
    expect(await apply(path, ...steps)).toMatchObject({ code: 0 })
    await refused(path, apply(path, '--format', format))
    const other = ['--model', join(fixtures, 'llama'), '--allow-other-model']
    await refused(path, apply(path, ...steps, ...other))
  })

  it('replaces no export that someone put a file into, and writes none of several formats then', async () => {
    const output = join(folder, 'several')
    expect((await apply(output, '--format', 'huggingface,gguf')).code).toBe(0)
    writeFileSync(join(output, 'model', 'notes.txt'), 'mine')
    await refused('notes.txt', apply(output, '--format', 'onnx,huggingface'))
    expect(readdirSync(output).toSorted()).toEqual(['model', 'model.gguf'])
  })
})

describe('prune', () => {
  it('replaces no file of others in its folder, and says so before the search', async () => {
    const output = join(folder, 'foreign')
    mkdirSync(join(output, 'model'), { recursive: true })
    writeFileSync(join(output, 'model', 'thesis.tex'), 'mine')
    await refused('thesis.tex', blockpruner(['prune', '--output', output, ...search]))
    expect(readdirSync(output)).toEqual(['model'])
    const other = join(folder, 'plan-alone')
    mkdirSync(other)
    writeFileSync(join(other, 'plan.json'), '{"mine": true}')
    await refused('plan.json', blockpruner(['prune', '--output', other, ...search]))
    expect(readFileSync(join(other, 'plan.json'), 'utf8')).toBe('{"mine": true}')
  })

  it('replaces its own export when a run is started again', async () => {
    const output = join(folder, 'again')
    const once = await blockpruner(['prune', '--output', output, ...search, '--no-verify'])
    const again = await blockpruner(['prune', '--output', output, ...search, '--no-verify'])
    expect([once.code, again.code, again.stderr]).toEqual([0, 0, ''])
  })
})
