import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'

/** Which folder of src may import which others. Changing a line is a design decision. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  tensor: [],
  format: ['tensor'],
  model: ['tensor', 'format'],
  graph: ['model', 'format'],
  device: ['format', 'graph'],
  measures: ['device', 'graph', 'model'],
  engine: ['device', 'measures', 'tensor', 'format', 'model', 'graph'],
  data: ['tensor', 'model'],
  objectives: ['measures', 'tensor', 'model'],
  methods: ['measures', 'tensor', 'model', 'search'],
  search: ['tensor', 'model', 'methods'],
  evaluate: ['measures', 'tensor', 'model', 'objectives'],
  export: ['tensor', 'format', 'model', 'graph'],
  report: ['model'],
  run: [
    'tensor',
    'format',
    'model',
    'data',
    'engine',
    'evaluate',
    'export',
    'measures',
    'methods',
    'objectives',
    'report',
    'search',
    'verify',
  ],
  verify: ['tensor', 'format', 'model', 'data', 'engine', 'export', 'measures'],
  cli: ['model', 'data', 'evaluate', 'export', 'methods', 'objectives', 'report', 'run', 'search', 'verify'],
}

/** Packages that one folder alone may import. */
const onlyIn: Readonly<Record<string, string>> = {
  'onnxruntime-node': 'device',
  commander: 'cli',
  'log-update': 'cli',
}

/** Folders that may touch files. */
const mayTouchFiles = ['format', 'model', 'data', 'export', 'run', 'verify', 'cli']

/** The one file that imports what its caller names: it starts consumers of exports in processes of their own. */
const importsByName = ['verify/childProcess.ts']

const root = resolve(import.meta.dirname, '../src')
const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'))

/** Every way to get at a module: static, dynamic, CommonJS, and the file of a worker. Undefined: not said in the source. */
function targetsIn(text: string): (string | undefined)[] {
  const said = String.raw`\s*['"\x60]([^'"\x60$]+)['"\x60]`
  const required = [...text.matchAll(/(\w+)\s*=\s*createRequire\(/g)].map(([, name]) => name)
  const call = String.raw`(?:\bimport|\bcreateRequire\([^)]*\)|\b(?:${['require', ...required].join('|')})(?:\.resolve)?)\(`
  const statics = [...text.matchAll(/(?:\bfrom|\bimport)\s*['"]([^'"]+)['"]/g)]
  const workers = [...text.matchAll(/new URL\(\s*['"`]([^'"`]+\.[jt]s)['"`]/g)]
  const dynamics = [...text.matchAll(new RegExp(`${call}(?:${said})?`, 'g'))]
  return [...statics, ...workers, ...dynamics].map(([, target]) => target)
}

const imports = files.flatMap((file) => {
  const targets = targetsIn(readFileSync(join(root, file), 'utf8'))
  return targets.flatMap((target) => (target === undefined ? [] : [{ file, target }]))
})

const folderOf = (path: string) => (path.includes('/') ? path.split('/')[0]! : '')

describe('the boundaries between folders', () => {
  it('are looked at in every file', () => {
    expect(files.length).toBeGreaterThan(40)
    expect(imports.length).toBeGreaterThan(150)
    const folders = new Set(files.map(folderOf).filter((folder) => folder !== ''))
    expect([...folders].filter((folder) => !(folder in mayImport))).toEqual([])
  })

  it('see every form of an import', () => {
    const text = `
      import { a } from './a.ts'
      import type b from "./b.ts"
      export * from './c.ts'
      import './d.ts'
      import {
        e,
      } from './e.ts'
      const f = await import('./f.ts')
      const g = createRequire(import.meta.url)('g')
      const load = createRequire(import.meta.url)
      const h = load('h')
      const i = require.resolve(\`i\`)
      new Worker(new URL('./j.ts', import.meta.url))
      const l = await import(name)
      important('no'); const required = 'neither'`
    const seen = ['./a.ts', './b.ts', './c.ts', './d.ts', './e.ts', './f.ts', 'g', 'h', 'i', './j.ts', undefined]
    expect(new Set(targetsIn(text))).toEqual(new Set(seen))
  })

  it('are crossed by no import whose target stands elsewhere', () => {
    const hidden = files.filter((file) => {
      const targets = targetsIn(readFileSync(join(root, file), 'utf8'))
      return targets.includes(undefined) && !importsByName.includes(file)
    })
    expect(hidden).toEqual([])
  })

  it('are crossed in the allowed directions only', () => {
    const wrong = imports.flatMap(({ file, target }) => {
      // the manifest is no folder's
      if (!target.startsWith('.') || target.endsWith('/package.json') || folderOf(file) === '') return []
      const to = folderOf(relative(root, resolve(root, dirname(file), target)))
      const from = folderOf(file)
      return to === '' || to === from || mayImport[from]!.includes(to) ? [] : [`${file} imports ${target}`]
    })
    expect(wrong).toEqual([])
  })

  it('keep the runtime in the engine and the terminal in the command line', () => {
    const wrong = imports.filter(({ file, target }) => {
      const name = Object.keys(onlyIn).find((known) => target === known || target.startsWith(`${known}/`))
      return name !== undefined && !target.endsWith('/package.json') && folderOf(file) !== onlyIn[name]
    })
    expect(wrong).toEqual([])
    expect(imports.some(({ target }) => target === 'onnxruntime-node')).toBe(true)
  })

  it('keep files away from methods, objectives, searches and graphs', () => {
    const wrong = imports.filter(
      ({ file, target }) => /^(node:)?fs($|\/)/.test(target) && !mayTouchFiles.includes(folderOf(file)),
    )
    expect(wrong).toEqual([])
  })
})
