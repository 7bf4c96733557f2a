import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { methods } from '../src/methods/registry.ts'
import { architectures } from '../src/model/families.ts'

const root = resolve(import.meta.dirname, '..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const pages = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md'].concat(
  readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.md') && !path.startsWith('api'))
    .map((path) => `docs/${path}`),
)

describe('the pages', () => {
  it('link to what is there', () => {
    const links = pages.flatMap((page) =>
      [...read(page).matchAll(/\]\(([^)#\s]+)[^)]*\)/g)].map(([, target]) => ({ page, target: target! })),
    )
    const local = links.filter(({ target }) => !/^\w+:/.test(target))
    expect(local.length).toBeGreaterThan(10)
    expect(local.filter(({ page, target }) => !existsSync(join(root, dirname(page), target)))).toEqual([])
  })

  it('begin with one that is read to its end', () => {
    expect(read('README.md').split('\n').length).toBeLessThanOrEqual(151)
  })

  it('name files of src that are there', () => {
    const folders = readdirSync(join(root, 'src'))
    const named = [...read('CONTRIBUTING.md').matchAll(/`(?:src\/)?([\w/]+\/\w+\.ts)`/g)].map(([, path]) => path!)
    const inSource = named.filter((path) => folders.includes(path.split('/')[0]!))
    expect(inSource.length).toBeGreaterThan(10)
    expect(inSource.filter((path) => !existsSync(join(root, 'src', path)))).toEqual([])
  })

  it('have one for each method, and a line in their list', () => {
    const list = read('docs/methods/README.md')
    expect(methods.length).toBeGreaterThan(10)
    for (const { name, title, paper } of methods) {
      const page = read(`docs/methods/${name}.md`)
      expect(page, name).toContain(`# ${title}\n`)
      if (paper !== undefined) expect(page, name).toContain(paper.replace('arXiv:', ''))
      expect(list).toContain(`[${name}](${name}.md)`)
    }
  })

  it('name every family', () => {
    const page = read('docs/families.md')
    const types = architectures.flatMap(({ modelTypes }) => modelTypes)
    expect(types.length).toBeGreaterThan(20)
    expect(types.filter((type) => !page.includes(`\`${type}\``))).toEqual([])
  })
})
