import { expect, it } from 'vitest'
import { expectEqualRuns, killedRun } from '../program/killedRun.ts'

it('a search killed 20 times at random moments ends with the bytes of one left alone', async () => {
  const options = ['--nsamples', '2', '--seqlen', '128', '--remove', '8', '--quiet', '--no-export']
  const { kills, whole, killed } = await killedRun(options, { attempts: 20, seed: 20 })
  process.stderr.write(`${kills} of 20 runs were killed before their end\n`)
  expect(kills).toBeGreaterThan(5)
  expectEqualRuns(whole, killed)
})
