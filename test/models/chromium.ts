import { spawn, spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'

/** A page in a headless Chromium with a profile of its own. */
export interface Browser {
  /** PNG bytes of what the page shows. */
  screenshot(): Promise<Buffer>
  /** The value of an expression in the page, which JSON can say. */
  evaluate(expression: string): Promise<unknown>
  /** What the page wrote to its console as errors. */
  readonly errors: readonly string[]
  close(): Promise<void>
}

/** The name of an installed Chromium; undefined, with a line on stderr, where there is none. */
export function findChromium(): string | undefined {
  const named = process.env['BLOCKPRUNER_CHROMIUM']
  const names = named === undefined ? ['chromium', 'chromium-browser', 'google-chrome'] : [named]
  const found = names.find((name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0)
  if (found === undefined) process.stderr.write(`Chromium is not here: install it, or set BLOCKPRUNER_CHROMIUM\n`)
  return found
}

/** A graphics card in software, slow and everywhere the same; without it there is none. */
const softwareCard = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan']

const flags = [
  '--headless',
  '--no-sandbox',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--window-size=1100,800',
  '--remote-debugging-pipe',
]

export interface PageOptions {
  /** Runs in the page before its own scripts do. */
  readonly script?: string
  readonly webGpu?: boolean
}

/** Opens `address`. Speaks DevTools over two pipes: JSON, a zero byte after each message. */
export async function openPage(chromium: string, address: string, options: PageOptions = {}): Promise<Browser> {
  const profile = await mkdtemp(join(tmpdir(), 'chromium-'))
  const card = options.webGpu === true ? softwareCard : ['--disable-gpu']
  const child = spawn(chromium, [...flags, ...card, `--user-data-dir=${profile}`, 'about:blank'], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
  })
  const [input, output] = [child.stdio[3] as Writable, child.stdio[4] as Readable]
  const pending = new Map<number, (message: Message) => void>()
  const errors: string[] = []
  let received = ''
  output.on('data', (chunk) => {
    received += chunk
    const messages = received.split('\0')
    received = messages.pop() ?? ''
    for (const message of messages.map((text) => JSON.parse(text) as Message)) {
      if (message.id !== undefined) pending.get(message.id)?.(message)
      const { type, args, exceptionDetails } = message.params ?? {}
      if (type === 'error') errors.push(args?.map(({ value, description }) => value ?? description).join(' ') ?? '')
      if (exceptionDetails !== undefined) errors.push(exceptionDetails.exception?.description ?? exceptionDetails.text)
    }
  })
  let next = 0
  const call = (method: string, params: object = {}, sessionId?: string) =>
    new Promise<Result>((resolve, reject) => {
      const id = ++next
      pending.set(id, ({ result, error }) =>
        error === undefined ? resolve(result ?? {}) : reject(new Error(error.message)),
      )
      input.write(`${JSON.stringify({ id, method, params, ...(sessionId !== undefined && { sessionId }) })}\0`)
    })
  const { targetId } = await call('Target.createTarget', { url: 'about:blank' })
  const { sessionId } = await call('Target.attachToTarget', { targetId, flatten: true })
  await call('Runtime.enable', {}, sessionId)
  await call('Page.enable', {}, sessionId)
  if (options.script !== undefined) {
    await call('Page.addScriptToEvaluateOnNewDocument', { source: options.script }, sessionId)
  }
  await call('Page.navigate', { url: address }, sessionId)
  return {
    errors,
    async screenshot() {
      const { data } = await call('Page.captureScreenshot', {}, sessionId)
      return Buffer.from(data!, 'base64')
    },
    async evaluate(expression) {
      const asked = { expression, returnByValue: true, awaitPromise: true }
      return ((await call('Runtime.evaluate', asked, sessionId)).result as { readonly value?: unknown }).value
    },
    async close() {
      const ended = new Promise((done) => child.on('exit', done))
      child.kill()
      await ended
      await rm(profile, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

interface Result {
  readonly targetId?: string
  readonly sessionId?: string
  readonly data?: string
  readonly result?: unknown
}

interface Message {
  readonly id?: number
  readonly result?: Result
  readonly error?: { readonly message: string }
  readonly params?: {
    readonly type?: string
    readonly args?: readonly { readonly value?: string; readonly description?: string }[]
    readonly exceptionDetails?: { readonly text: string; readonly exception?: { readonly description: string } }
  }
}
