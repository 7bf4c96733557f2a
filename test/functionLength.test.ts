import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, it } from 'vitest'

const root = resolve(import.meta.dirname, '../src')
const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'))

/** Functions and methods that begin a line, and how many lines they take: the formatter puts their last brace below their first letter. */
function functionsOf(text: string): { readonly name: string; readonly lines: number }[] {
  const lines = text.split('\n')
  return lines.flatMap((line, first) => {
    const [, indent = '', named, arrow, method] =
      /^( *)(?:export )?(?:(?:async )?function\*? (\w+)|const (\w+) = (?:async )?\(.*(?:=> \{|[({,])$|(?:async )?(\w+)\(.*\)?.* \{$)/.exec(
        line,
      ) ?? []
    const name = named ?? arrow ?? method
    if (name === undefined || /^(if|for|while|switch|catch|describe|it|test)$/.test(name)) return []
    const length = lines.slice(first + 1).findIndex((below) => below.startsWith(`${indent}}`))
    return length < 0 ? [] : [{ name, lines: length + 2 }]
  })
}

it('has no function over 80 lines: a reader sees one whole', () => {
  const found = files.flatMap((file) =>
    functionsOf(readFileSync(join(root, file), 'utf8')).map((of) => ({ file, ...of })),
  )
  expect(found.length).toBeGreaterThan(1000)
  expect(found.filter(({ lines }) => lines > 80)).toEqual([])
})

it('counts the lines of functions, arrows and methods', () => {
  const body = Array.from({ length: 9 }, () => '  x()').join('\n')
  const text = `export function a(x: A) {\n${body}\n}\nconst b = (y: B) => {\n${body}\n}\n  async c(z) {\n${body}\n  }\n`
  expect(functionsOf(text)).toEqual([
    { name: 'a', lines: 11 },
    { name: 'b', lines: 11 },
    { name: 'c', lines: 11 },
  ])
})
