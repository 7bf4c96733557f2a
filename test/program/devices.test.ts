import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { blockpruner } from './commandLine.ts'

const size = ['--nsamples', '1', '--seqlen', '16', '--threads', '1']

describe('--device', () => {
  it.each(['prune --output nowhere', 'evaluate', 'apply --plan plan.json --output nowhere', 'verify nowhere'])(
    'is refused by %s for a name that is none',
    async (command) => {
      const { code, stderr } = await blockpruner([...command.split(' '), '--device', 'gpu'])
      expect(code).toBe(2)
      expect(stderr).toMatch(/'gpu' is invalid. Allowed choices are auto, cpu, webgpu, cuda/)
    },
  )

  it('that lacks its libraries is named, with the command that installs them', async () => {
    const { code, stderr } = await blockpruner(['evaluate', '--device', 'cuda', ...size])
    expect(code).toBe(2)
    expect(stderr).toMatch(
      /--device cuda: .*expected .* run `ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node/,
    )
  })

  it('other than the CPU is not timed block by block', async () => {
    const output = join(mkdtempSync(join(tmpdir(), 'device-')), 'run')
    const timed = ['prune', '--output', output, '--speedup', '1.2', '--device', 'webgpu', ...size]
    const { code, stderr } = await blockpruner(timed)
    expect(code).toBe(2)
    expect(stderr).toMatch(/--speedup 1.2: .*found --device webgpu; take --device cpu/)
  })

  it('is not recorded where it is the CPU, and a run of another one is not resumed', async () => {
    const output = mkdtempSync(join(tmpdir(), 'device-'))
    const run = ['prune', '--output', output, '--remove', '1', '--no-export', '--quiet', ...size]
    expect(await blockpruner([...run, '--device', 'cpu'])).toMatchObject({ code: 0 })
    expect(JSON.parse(readFileSync(join(output, 'plan.json'), 'utf8'))).not.toHaveProperty('device')
    const path = join(output, 'journal.jsonl')
    const [header, ...lines] = readFileSync(path, 'utf8').split('\n')
    const { version, inputs } = JSON.parse(header!)
    writeFileSync(path, [JSON.stringify({ version, inputs: { ...inputs, device: 'webgpu' } }), ...lines].join('\n'))
    const { code, stderr } = await blockpruner(run)
    expect(code).toBe(1)
    expect(stderr).toMatch(/device is "webgpu" there and absent now/)
  })
})
