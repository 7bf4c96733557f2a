import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A repository as the fake hub serves it: branches name commits, commits hold files. */
export interface FakeRepository {
  readonly revisions: Readonly<Record<string, string>>
  readonly files: Readonly<Record<string, string | Uint8Array>>
  /** Answers 401 unless this token comes along. */
  readonly token?: string
}

export interface FakeHub {
  readonly url: string
  /** `METHOD path` of every request so far, and whether it carried a token. */
  readonly requests: { readonly line: string; readonly authorised: boolean; readonly range: string | undefined }[]
  /** How many coming answers with a large file's content break off after this many bytes. */
  breakOff: { times: number; afterBytes: number }
  /** Large files are sent in pieces with this pause between them. */
  pauseMs: number
  /** Served instead of the true content of a large file. */
  readonly replaced: Map<string, Uint8Array>
  close(): Promise<void>
}

export const commitOf = (text: string) => createHash('sha1').update(text).digest('hex')

const bytesOf = (content: string | Uint8Array) =>
  typeof content === 'string' ? Buffer.from(content) : Buffer.from(content)
const isLarge = (path: string) => /\.(safetensors|gguf|parquet)$/.test(path)
const hashOf = (path: string, bytes: Buffer) =>
  isLarge(path)
    ? createHash('sha256').update(bytes).digest('hex')
    : createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')

/**
 * A server on loopback that answers as the hub does: revision and tree of a repository, page by page, `resolve` with
 * ETag and X-Repo-Commit, large files by a redirect to a second origin, byte ranges, 401 and 404 with X-Error-Code.
 * Repositories are named `models/owner/name` or `datasets/owner/name`.
 */
export async function startFakeHub(repositories: Readonly<Record<string, FakeRepository>>): Promise<FakeHub> {
  const hub: FakeHub = {
    url: '',
    requests: [],
    breakOff: { times: 0, afterBytes: 0 },
    pauseMs: 0,
    replaced: new Map(),
    close: async () => {
      for (const server of [api, store]) {
        server.closeAllConnections()
        await new Promise((resolve) => server.close(resolve))
      }
    },
  }
  const note = (request: IncomingMessage) =>
    hub.requests.push({
      line: `${request.method} ${request.url}`,
      authorised: request.headers.authorization !== undefined,
      range: request.headers.range,
    })
  const blobs = new Map<string, Buffer>()

  const store = createServer((request, response) => {
    note(request)
    const hash = (request.url ?? '').slice('/blobs/'.length)
    const bytes = hub.replaced.get(hash) ?? blobs.get(hash)
    if (bytes === undefined) return void response.writeHead(404).end()
    void sendRange(request, response, Buffer.from(bytes), hub)
  })
  const storeUrl = await listen(store)

  const api = createServer((request, response) => {
    note(request)
    const url = new URL(request.url ?? '/', 'http://hub')
    const match =
      /^\/api\/(models|datasets)\/([^/]+\/[^/]+)\/(revision|tree)\/([^/]+)$/.exec(url.pathname) ??
      /^\/(datasets\/)?([^/]+\/[^/]+)\/(resolve)\/([^/]+)\/(.+)$/.exec(url.pathname)
    if (match === null) return void response.writeHead(404).end()
    const [, kind, name, action, encodedRevision, path] = match
    const repository = repositories[`${kind?.startsWith('datasets') ? 'datasets' : 'models'}/${name}`]
    const allowed = repository?.token === undefined || request.headers.authorization === `Bearer ${repository.token}`
    if (repository === undefined || !allowed) {
      // the hub does not tell strangers whether a private repository exists
      const known = repository === undefined && request.headers.authorization !== undefined
      return fail(response, known ? 404 : 401, 'RepoNotFound')
    }
    const revision = decodeURIComponent(encodedRevision as string)
    const commits = Object.values(repository.revisions)
    const commit = repository.revisions[revision] ?? commits.find((sha) => sha === revision)
    if (commit === undefined) return fail(response, 404, 'RevisionNotFound')
    if (action === 'revision') return sendJson(response, { _id: 'x', id: name, sha: commit, private: false })
    const files = Object.entries(repository.files)
    if (action === 'tree') {
      const from = Number(url.searchParams.get('cursor') ?? 0)
      const page = files.slice(from, from + 3).map(([file, content]) => {
        const bytes = bytesOf(content)
        const oid = hashOf(file, bytes)
        const lfs = { oid, size: bytes.length, pointerSize: 130 }
        return {
          type: 'file',
          path: file,
          size: bytes.length,
          ...(isLarge(file) ? { oid: commitOf(file), lfs } : { oid }),
        }
      })
      url.searchParams.set('cursor', String(from + 3))
      const link = from + 3 < files.length ? { Link: `<${hub.url}${url.pathname}${url.search}>; rel="next"` } : {}
      return sendJson(response, page, link)
    }
    const file = decodeURIComponent(path as string)
    const content = repository.files[file]
    if (content === undefined) return fail(response, 404, 'EntryNotFound')
    const bytes = bytesOf(content)
    const hash = hashOf(file, bytes)
    response.setHeader('X-Repo-Commit', commit)
    if (!isLarge(file)) {
      response.setHeader('ETag', `"${hash}"`)
      return void sendRange(request, response, bytes)
    }
    blobs.set(hash, bytes)
    response.writeHead(302, {
      ...{ Location: `${storeUrl}/blobs/${hash}`, 'X-Linked-ETag': `"${hash}"`, 'X-Linked-Size': bytes.length },
    })
    response.end()
  })
  return Object.assign(hub, { url: await listen(api) })
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function sendJson(response: ServerResponse, value: unknown, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(200, { 'Content-Type': 'application/json', ...headers }).end(JSON.stringify(value))
}

function fail(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, { 'Content-Type': 'application/json', 'X-Error-Code': code })
  response.end(JSON.stringify({ error: code }))
}

async function sendRange(
  request: IncomingMessage,
  response: ServerResponse,
  bytes: Buffer,
  hub?: FakeHub,
): Promise<void> {
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
  const start = range ? Number(range[1]) : 0
  const end = range?.[2] ? Math.min(Number(range[2]) + 1, bytes.length) : bytes.length
  const part = bytes.subarray(start, end)
  response.writeHead(range ? 206 : 200, {
    ...{ 'Content-Length': part.length, ETag: response.getHeader('ETag') ?? `"${hashOf('x', bytes)}"` },
    ...(range ? { 'Content-Range': `bytes ${start}-${end - 1}/${bytes.length}` } : {}),
  })
  if (hub === undefined || part.length <= 1) return void response.end(part)
  const stop = hub.breakOff.times > 0 ? hub.breakOff.afterBytes : part.length
  for (let at = 0; at < stop; at += 1000) {
    response.write(part.subarray(at, Math.min(at + 1000, stop)))
    if (hub.pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, hub.pauseMs))
  }
  if (stop === part.length) return void response.end()
  hub.breakOff.times -= 1
  // what was written leaves before the connection does
  await new Promise((resolve) => setTimeout(resolve, 30))
  response.destroy()
}
