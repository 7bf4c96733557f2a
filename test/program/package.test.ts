import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { publint } from 'publint'
import { beforeAll, describe, expect, it } from 'vitest'

const root = resolve(import.meta.dirname, '../..')
const tsc = join(root, 'node_modules/typescript/bin/tsc')
const consumer = mkdtempSync(join(tmpdir(), 'consumer-'))

/** A project that installed the packed tarball, without any types of its own. */
beforeAll(() => {
  const packed = execFileSync('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', consumer], {
    cwd: root,
    encoding: 'utf8',
  })
  const [{ filename }] = JSON.parse(packed) as [{ filename: string }]
  const modules = join(consumer, 'node_modules')
  mkdirSync(join(modules, 'blockpruner'), { recursive: true })
  execFileSync('tar', ['-xzf', join(consumer, filename), '-C', join(modules, 'blockpruner'), '--strip-components=1'])
  // its dependencies: those of the repository, less the type packages that a consumer need not have
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (!name.startsWith('.') && !['@types', 'blockpruner'].includes(name)) {
      symlinkSync(join(root, 'node_modules', name), join(modules, name))
    }
  }
  writeFileSync(join(consumer, 'package.json'), '{"type":"module"}')
}, 120_000)

function compile(source: string): string {
  const file = join(consumer, 'index.ts')
  writeFileSync(file, source)
  const options = [
    '--noEmit',
    '--strict',
    '--module',
    'nodenext',
    '--target',
    'es2023',
    '--lib',
    'es2023',
    '--types',
    '',
  ]
  try {
    execFileSync(process.execPath, [tsc, ...options, file], { cwd: consumer, encoding: 'utf8', stdio: 'pipe' })
    return ''
  } catch (error) {
    return (error as { stdout: string }).stdout
  }
}

describe('the package', () => {
  it('has a manifest that publint has nothing against', async () => {
    const { messages } = await publint({ pkgDir: root, strict: true })
    expect(messages).toEqual([])
  })

  it('compiles in a project without types of Node or the browser', () => {
    const source = `import { blockPruner, type Objective, type Model, type PruningPlan, applyPlan } from 'blockpruner'
      declare const model: Model
      const objective: Objective = { unit: 'nats per token', evaluate: async (plans) => plans.map(() => 0) }
      const plan: PruningPlan = { blocks: ['decoder.1.mlp'], units: {} }
      export const parameters: number = applyPlan(model, plan).parameters
      for await (const { loss } of blockPruner(model, objective)) export_(loss)
      declare function export_(loss: number): void
    `
    expect(compile(source)).toBe('')
  })

  it('has no public type that needs them', () => {
    // the one mistake is ours, so the types were read
    const found = compile("import * as all from 'blockpruner'\nexport const loss: string = all\n")
    expect(found.match(/error TS\d+/g)).toEqual(['error TS2322'])
  })

  it('refuses a wrong type there', () => {
    const wrong = `import type { PruningPlan } from 'blockpruner'
      export const plan: PruningPlan = { blocks: ['decoder.one.mlp'], units: {} }`
    expect(compile(wrong)).toContain('TS2322')
  })

  it('runs from the tarball, with the embedded model', () => {
    const main = join(consumer, 'node_modules/blockpruner/dist/cli/main.js')
    const output = execFileSync(process.execPath, [main, 'evaluate', '--nsamples', '1', '--seqlen', '16'], {
      encoding: 'utf8',
    })
    expect(output).toContain('2739328')
  })

  it('names Node 20.19 as the oldest it runs on, and no dependency by a range', () => {
    const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    expect(manifest.engines.node).toBe('>=20.19')
    for (const version of Object.values<string>({ ...manifest.dependencies, ...manifest.devDependencies })) {
      expect(version).toMatch(/^\d/)
    }
  })
})
