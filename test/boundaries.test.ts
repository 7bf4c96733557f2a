import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'

/** Which folder of src may import which others. Changing a line is a design decision. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  tensor: [],
  format: ['tensor'],
  model: ['tensor', 'format'],
  graph: ['model', 'format'],
  engine: ['tensor', 'model', 'graph'],
  data: ['tensor', 'model'],
  objectives: ['tensor', 'model'],
  methods: ['tensor', 'model'],
  search: ['tensor', 'model'],
  evaluate: ['tensor', 'model', 'objectives'],
  export: ['tensor', 'format', 'model', 'graph'],
  run: [
    'tensor',
    'format',
    'model',
    'data',
    'engine',
    'evaluate',
    'export',
    'methods',
    'objectives',
    'search',
    'verify',
  ],
  verify: ['tensor', 'format', 'model', 'data', 'engine', 'export'],
  cli: ['model', 'data', 'evaluate', 'export', 'methods', 'objectives', 'run', 'search', 'verify'],
}

/** Packages that one folder alone may import. */
const onlyIn: Readonly<Record<string, string>> = {
  'onnxruntime-node': 'engine',
  commander: 'cli',
  'log-update': 'cli',
}

/** Folders that may touch files. */
const mayTouchFiles = ['format', 'model', 'data', 'export', 'run', 'verify', 'cli']

const root = resolve(import.meta.dirname, '../src')
const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'))

const imports = files.flatMap((file) => {
  const text = readFileSync(join(root, file), 'utf8')
  return [...text.matchAll(/(?:from|import)\s+'([^']+)'/g)].map(([, target]) => ({ file, target: target! }))
})

const folderOf = (path: string) => (path.includes('/') ? path.split('/')[0]! : '')

describe('the boundaries between folders', () => {
  it('are looked at in every file', () => {
    expect(files.length).toBeGreaterThan(40)
    expect(imports.length).toBeGreaterThan(150)
    const folders = new Set(files.map(folderOf).filter((folder) => folder !== ''))
    expect([...folders].filter((folder) => !(folder in mayImport))).toEqual([])
  })

  it('are crossed in the allowed directions only', () => {
    const wrong = imports.flatMap(({ file, target }) => {
      if (!target.startsWith('.') || folderOf(file) === '') return []
      const to = folderOf(relative(root, resolve(root, dirname(file), target)))
      const from = folderOf(file)
      return to === '' || to === from || mayImport[from]!.includes(to) ? [] : [`${file} imports ${target}`]
    })
    expect(wrong).toEqual([])
  })

  it('keep the runtime in the engine and the terminal in the command line', () => {
    const wrong = imports.filter(
      ({ file, target }) => onlyIn[target] !== undefined && folderOf(file) !== onlyIn[target],
    )
    expect(wrong).toEqual([])
    expect(imports.some(({ target }) => target === 'onnxruntime-node')).toBe(true)
  })

  it('keep files away from methods, objectives, searches and graphs', () => {
    const wrong = imports.filter(
      ({ file, target }) => /^node:fs/.test(target) && !mayTouchFiles.includes(folderOf(file)),
    )
    expect(wrong).toEqual([])
  })
})
