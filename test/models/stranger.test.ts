import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { smollm2 } from './smollm2.ts'

/**
 * What someone does who has Node and npm only: the packed tarball in an empty project, the registry, no scripts of dependencies.
 * The command line, every example, the types, and a GGUF that answers in llama.cpp. BLOCKPRUNER_PROJECT names a folder where the
 * project is left behind.
 */
const root = resolve(import.meta.dirname, '../..')
const tsc = join(root, 'node_modules/typescript/bin/tsc')
const kept = process.env['BLOCKPRUNER_PROJECT']
const smollm2Path = await smollm2()

let work = ''
let project = ''
let tarball = ''
/** Why npm could not install; undefined where it did. */
let offline: string | undefined

beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'stranger-'))
  const { stdout } = await run(root, 'npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', work])
  tarball = join(work, (JSON.parse(stdout) as [{ filename: string }])[0].filename)
  project = kept ?? (await mkdtemp(join(work, 'project-')))
  await writeFile(join(project, 'package.json'), '{ "private": true, "type": "module" }')
  try {
    await install(project, ['--ignore-scripts', tarball])
  } catch (error) {
    const { message } = error as Error
    if (!/\b(ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EAI_AGAIN|ENETUNREACH)\b/.test(message)) throw error
    offline = `npm reaches no registry: ${message.split('\n').find((line) => line.includes('code'))}`
    process.stderr.write(`${offline}\n`)
  }
})
afterAll(() => rm(work, { recursive: true, force: true }))

describe('in an empty project, from the packed tarball', () => {
  test('one dependency alone has a script, and runs without it', async ({ skip }) => {
    if (offline !== undefined) skip(offline)
    const { packages } = JSON.parse(await readFile(join(project, 'package-lock.json'), 'utf8')) as Lock
    expect(Object.keys(packages).length).toBeGreaterThan(10)
    const withScript = Object.keys(packages).filter((name) => packages[name]!.hasInstallScript)
    expect(withScript).toEqual(['node_modules/onnxruntime-node'])
    const { stdout } = await run(project, 'npx', ['blockpruner', 'evaluate', '--nsamples', '1', '--seqlen', '16'])
    expect(stdout).toContain('2739328')
  })

  test('ONNXRUNTIME_NODE_INSTALL=skip keeps that script from downloading', async ({ skip }) => {
    if (offline !== undefined) skip(offline)
    const folder = await mkdtemp(join(work, 'with-scripts-'))
    await writeFile(join(folder, 'package.json'), '{ "private": true }')
    // a proxy that is not there: whatever a script asks for fails
    const proxy = 'http://127.0.0.1:9'
    const environment = {
      ONNXRUNTIME_NODE_INSTALL: 'skip',
      GLOBAL_AGENT_HTTP_PROXY: proxy,
      GLOBAL_AGENT_HTTPS_PROXY: proxy,
    }
    await install(folder, ['--foreground-scripts', '--ignore-scripts=false', tarball], environment)
    expect(await readdir(join(folder, 'node_modules'))).toContain('blockpruner')
  })

  test('every example runs', async ({ skip }) => {
    if (offline !== undefined) skip(offline)
    const folder = join(project, 'node_modules/blockpruner/examples')
    const examples = (await readdir(folder)).filter((name) => name.endsWith('.mjs') && name !== 'answer.mjs')
    expect(examples.sort()).toEqual(['demo.mjs', 'export.mjs', 'prune.mjs'])
    for (const name of examples) {
      const { stdout } = await run(project, process.execPath, [join(folder, name)])
      expect(stdout.trim().split('\n').length, name).toBeGreaterThan(2)
    }
  })

  test('every public name has types that need none of Node or the browser', async ({ skip }) => {
    if (offline !== undefined) skip(offline)
    await writeFile(join(project, 'index.ts'), "import * as all from 'blockpruner'\nexport const loss: string = all\n")
    const options = '--noEmit --strict --skipLibCheck false --module nodenext --target es2023 --lib es2023'.split(' ')
    const compiled = run(project, process.execPath, [tsc, ...options, '--types', '', 'index.ts'])
    // the one mistake is ours, so the types were read
    const { stdout } = await compiled.then(
      () => ({ stdout: '' }),
      (error: { stdout: string }) => error,
    )
    expect(stdout.match(/error TS\d+/g)).toEqual(['error TS2322'])
    expect(stdout).toMatch(/^index\.ts\(2,/)
  })

  test.skipIf(process.platform !== 'linux' || process.arch !== 'x64')(
    'a pruned GGUF answers in llama.cpp (needs Linux on x64)',
    async ({ skip }) => {
      if (offline !== undefined) skip(offline)
      const { dependencies } = JSON.parse(await readFile(join(root, 'test/consumers/package.json'), 'utf8')) as Manifest
      const wanted = ['node-llama-cpp', '@node-llama-cpp/linux-x64'].map((name) => `${name}@${dependencies[name]}`)
      // its other binaries are for graphics cards, and large
      await install(project, ['--ignore-scripts', '--omit=optional', ...wanted])
      const model = smollm2Path === undefined ? [] : ['--model', smollm2Path]
      const budget = ['--remove', '2', '--search', 'fast', '--nsamples', '2', '--seqlen', '64', '--format', 'gguf']
      await run(project, 'npx', ['blockpruner', 'prune', ...model, ...budget, '--output', 'run', '--quiet'])
      const file = (await readdir(join(project, 'run'))).find((name) => name.endsWith('.gguf'))!
      const question = smollm2Path === undefined ? 'The jury said' : 'Why is the sky blue?'
      const example = join(project, 'node_modules/blockpruner/examples/answer.mjs')
      const { stdout } = await run(project, process.execPath, [example, join('run', file), question, '24'])
      process.stderr.write(`${question} ${stdout.trim()}\n`)
      expect(stdout.trim().split(/\s+/).length).toBeGreaterThan(5)
      if (smollm2Path !== undefined) expect(stdout).toMatch(/\b(sky|light|blue)\b/)
    },
  )
})

interface Lock {
  readonly packages: Readonly<Record<string, { readonly hasInstallScript?: boolean }>>
}

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>
}

function run(cwd: string, program: string, args: readonly string[], environment: NodeJS.ProcessEnv = {}) {
  // what a test runner set for this repository is no stranger's
  const own = Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_OPTIONS|VITEST|INIT_CWD)/.test(name))
  const env = { ...Object.fromEntries(own), ...environment }
  return promisify(execFile)(program, args, { cwd, env, encoding: 'utf8', maxBuffer: 2 ** 26 })
}

const install = (cwd: string, args: readonly string[], environment: NodeJS.ProcessEnv = {}) =>
  run(cwd, 'npm', ['install', '--no-audit', '--no-fund', ...args], environment)
