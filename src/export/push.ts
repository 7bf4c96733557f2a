import { readdir, stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { OutputError, ToolkitError } from '../errors.ts'
import { isGgufPath } from '../model/gguf/open.ts'
import { type HubApiError, hubLibrary, type Repository } from '../model/hubLibrary.ts'
import { hubToken } from '../model/hubToken.ts'
import type { StopSignal } from '../types.ts'

export interface PushOptions {
  /** Make a new repository private; an existing one that is public is refused. */
  readonly private?: boolean | undefined
  /** Branch to commit to, made where there is none; default `main`. */
  readonly branch?: string | undefined
  /** Of the commit. */
  readonly message?: string | undefined
  readonly signal?: StopSignal | undefined
  /** Called as bytes of large files leave. Small files travel in the commit, and what the hub has already does not travel. */
  readonly onProgress?: ((progress: PushProgress) => void) | undefined
}

export interface PushProgress {
  /** The file that is on its way. */
  readonly file: string
  readonly sentBytes: number
  /** Of all files. */
  readonly totalBytes: number
}

export interface Pushed {
  /** Page of the commit. */
  readonly url: string
  readonly commit: string
  readonly files: readonly string[]
  readonly sizeBytes: number
}

/** A connection that breaks off is tried this many times for each file. */
const maxAttempts = 4
const retryDelayMs = 250

/**
 * Uploads an export, a folder or a .gguf file, to the model repository `owner/name` of the hub, which is made where there is
 * none, in one commit: all files are there or none. The token comes from `hubToken`; HF_ENDPOINT is honoured. Throws
 * `OutputError` that says what to do; pushing again sends only what has not arrived.
 */
export async function pushExport(path: string, repository: string, options: PushOptions = {}): Promise<Pushed> {
  const { branch = 'main', signal } = options
  const name = /^\w[\w.-]*\/\w[\w.-]*$/.test(repository) ? repository : undefined
  if (name === undefined) {
    throw new OutputError(`${repository}: is no repository, expected "owner/name" as in the address of its page`)
  }
  const files = await exportedFiles(path)
  const accessToken = await hubToken()
  if (accessToken === undefined) {
    throw new OutputError(
      `${name}: pushing needs an access token, found none; set HF_TOKEN, or log in with "hf auth login" (${hubUrl()}/settings/tokens)`,
    )
  }
  const repo: Repository = { type: 'model', name }
  const access = { hubUrl: hubUrl(), accessToken, fetch: watchedFetch(files, options) }
  try {
    await prepareRepository(access, repo, branch, options.private === true)
    const { commit } = await hubLibrary.commit({
      ...access,
      repo,
      branch,
      title: options.message ?? `Upload ${basename(resolve(path))}`,
      operations: files.map(({ file, url }) => ({ operation: 'addOrUpdate', path: file, content: url })),
      // plain LFS, which every hub takes; the library's other protocol was not tried
      useXet: false,
      ...(signal && { abortSignal: signal as AbortSignal }),
    })
    return { url: commit.url, commit: commit.oid, files: files.map(({ file }) => file), sizeBytes: sizeOf(files) }
  } catch (cause) {
    signal?.throwIfAborted()
    throw explained(name, accessToken, cause)
  }
}

function hubUrl(): string {
  return (process.env['HF_ENDPOINT'] || 'https://huggingface.co').replace(/\/+$/, '')
}

type Access = Parameters<typeof hubLibrary.createBranch>[0] extends infer A ? Omit<A, 'repo' | 'branch'> : never

async function prepareRepository(access: Access, repo: Repository, branch: string, isPrivate: boolean): Promise<void> {
  const found = await orOn(404, hubLibrary.modelInfo({ ...access, name: repo.name }))
  if (found === undefined) {
    await orOn(409, hubLibrary.createRepo({ ...access, repo, ...(isPrivate && { visibility: 'private' }) }))
  } else if (isPrivate && !found.private) {
    throw new OutputError(
      `${repo.name}: is public, expected a private repository; make it private in its settings, or leave --private out`,
    )
  }
  if (branch !== 'main') await orOn(409, hubLibrary.createBranch({ ...access, repo, branch }))
}

/** Undefined where the hub answers with `status`. */
async function orOn<T>(status: number, asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked
  } catch (error) {
    if (isApiError(error) && error.statusCode === status) return undefined
    throw error
  }
}

interface ExportedFile {
  /** Path in the repository. */
  readonly file: string
  readonly url: URL
  readonly sizeBytes: number
}

const sizeOf = (files: readonly ExportedFile[]): number => files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)

/** The files of an export but hidden ones, by their paths in the repository. */
async function exportedFiles(path: string): Promise<ExportedFile[]> {
  const root = await stat(path).catch((cause) => {
    throw new OutputError(`${path}: cannot be opened (${cause.code}); is the path right?`, { cause })
  })
  if (root.isFile() && isGgufPath(path)) return [await describeFile(path, basename(path))]
  const names = root.isDirectory() ? (await readdir(path, { recursive: true })).map((n) => n.replaceAll('\\', '/')) : []
  const has = (pattern: RegExp) => names.some((name) => pattern.test(name))
  if (has(/^plan\.json$/)) {
    throw new OutputError(
      `${path}: is a run directory, expected one export; push its model/, onnx/, nemotron/ or model.gguf`,
    )
  }
  if (!has(/^[^/]+\.gguf$/) && !(has(/^config\.json$/) && has(/^([^/]+\.safetensors|onnx\/[^/]+\.onnx)$/))) {
    throw new OutputError(
      `${path}: is no export, expected a .gguf file, or a folder with one or with config.json beside *.safetensors or onnx/`,
    )
  }
  const files: ExportedFile[] = []
  for (const name of names.toSorted()) {
    if (name.split('/').some((part) => part.startsWith('.'))) continue
    if ((await stat(join(path, name))).isFile()) files.push(await describeFile(join(path, name), name))
  }
  return files
}

async function describeFile(path: string, file: string): Promise<ExportedFile> {
  return { file, url: pathToFileURL(resolve(path)), sizeBytes: (await stat(path)).size }
}

/** `fetch` that counts what is uploaded, and sends a file again when the connection breaks off. */
function watchedFetch(files: readonly ExportedFile[], { signal, onProgress }: PushOptions): typeof fetch {
  const totalBytes = sizeOf(files)
  let sentBytes = 0
  return async (input, init) => {
    const options = signal ? { signal: signal as AbortSignal, ...init } : init
    if (init?.method !== 'PUT' || !(init.body instanceof Blob)) return fetch(input, options)
    const { progressHint } = init as { readonly progressHint?: { readonly path: string } }
    for (let attempt = 1; ; attempt++) {
      let sent = 0
      const count = (bytes: number) => {
        sent += bytes
        sentBytes += bytes
        onProgress?.({ file: progressHint?.path ?? '', sentBytes, totalBytes })
      }
      const again = attempt < maxAttempts
      try {
        const response = await fetch(input, { ...options, body: counted(init.body, count) })
        if (response.status < 500 || !again) return response
      } catch (error) {
        signal?.throwIfAborted()
        if (!again) throw error
      }
      sentBytes -= sent
      await setTimeout(retryDelayMs * attempt, undefined, signal ? { signal: signal as AbortSignal } : {})
    }
  }
}

/** `blob` with each chunk that is read from its stream counted; fetch sends its size first, as it does for any blob. */
function counted(blob: Blob, count: (bytes: number) => void): Blob {
  const stream = () => {
    const counting = new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        count(chunk.length)
        controller.enqueue(chunk)
      },
    })
    return blob.stream().pipeThrough(counting)
  }
  return Object.create(blob, { size: { value: blob.size }, stream: { value: stream } }) as Blob
}

function isApiError(error: unknown): error is HubApiError {
  return error instanceof hubLibrary.HubApiError
}

/** An error of the hub's library as one that says what to do, and tells neither the token nor signed addresses. */
function explained(name: string, token: string, cause: unknown): unknown {
  if (cause instanceof ToolkitError) return cause
  const again = 'push again: what has arrived is not sent twice'
  const failure = (text: string) => new OutputError(`${name}: ${text.replaceAll(token, 'hf_…')}`)
  if (!isApiError(cause)) {
    if (!(cause instanceof Error)) return failure(`${cause}; ${again}`)
    const inner = cause.cause as NodeJS.ErrnoException | undefined
    const reason = inner?.code ?? inner?.message ?? cause.message
    return failure(`the connection to ${hubUrl()} failed (${reason}); check the network and ${again}`)
  }
  const { statusCode, data } = cause
  const said = [data?.error, data?.message].find((text) => typeof text === 'string')
  const words = typeof said === 'string' ? `, "${said.replace(/\s+/g, ' ').slice(0, 200)}"` : ''
  if (!cause.url.startsWith(hubUrl())) {
    return failure(`the store for large files does not take one (${statusCode}); nothing was committed; ${again}`)
  }
  if (statusCode === 401) {
    return failure(
      `the hub does not know the access token (401${words}); make a new one at ${hubUrl()}/settings/tokens`,
    )
  }
  if (statusCode === 403) {
    return failure(
      `the access token may not write there (403${words}); take one with write access, and a name of your account or organization`,
    )
  }
  if (statusCode === 404) return failure(`the hub has no such owner or repository (404${words}); check the name`)
  return failure(`the hub does not take it (${statusCode}${words}); ${again}`)
}
