import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'

const folder = resolve(import.meta.dirname, '../../examples')
// the demo is run by itself, and llama.cpp asked in test/models/stranger.test.ts
const examples = readdirSync(folder).filter(
  (name) => name.endsWith('.mjs') && !['demo.mjs', 'answer.mjs'].includes(name),
)

describe('the examples', () => {
  it.for(examples)('%s runs and prints something', (name) => {
    const output = execFileSync(process.execPath, [resolve(folder, name)], { encoding: 'utf8' })
    expect(output.trim().split('\n').length).toBeGreaterThan(2)
  })

  it('are there', () => expect(examples.length).toBeGreaterThan(1))
})
