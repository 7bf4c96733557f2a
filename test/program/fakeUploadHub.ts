import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What a repository of the fake hub holds. */
export interface UploadedRepository {
  readonly private: boolean
  /** Branch → path → bytes, as committed. */
  readonly branches: Map<string, Map<string, Buffer>>
  readonly messages: string[]
}

export interface FakeUploadHub {
  readonly url: string
  readonly repositories: Map<string, UploadedRepository>
  /** `METHOD path` of every request. */
  readonly requests: string[]
  /** How many coming uploads of more than `largerThan` bytes to the store break off after `afterBytes`. */
  breakOff: { times: number; afterBytes: number; largerThan: number }
  /** Answer of the store, for uploads that must fail. */
  storeStatus: number
  /** Size of the parts of large files; 0: each in one piece. */
  partBytes: number
  close(): Promise<void>
}

/** A token that may write, and one that may only read. */
export const tokens = { write: 'hf_writeTokenOfNobody', read: 'hf_readTokenOfNobody' }

/**
 * A server on loopback that answers what an upload asks: revision of a repository, creation of repositories and branches, the
 * `preupload` question which files are large, the LFS batch, the store behind it (whole files or parts), and the commit, which is
 * refused unless every large file it names has arrived with that hash.
 */
export async function startFakeUploadHub(): Promise<FakeUploadHub> {
  const store = new Map<string, Buffer>()
  const parts = new Map<string, Buffer[]>()
  const hub: FakeUploadHub = {
    url: '',
    repositories: new Map(),
    requests: [],
    breakOff: { times: 0, afterBytes: 0, largerThan: 0 },
    storeStatus: 200,
    partBytes: 0,
    close: async () => {
      for (const server of [api, storage]) {
        server.closeAllConnections()
        await new Promise((done) => server.close(done))
      }
    },
  }
  const serve = (answer: (request: IncomingMessage, response: ServerResponse) => Promise<void>) =>
    createServer((request, response) => {
      hub.requests.push(`${request.method} ${new URL(request.url ?? '/', 'http://hub').pathname}`)
      answer(request, response).catch(() => response.destroy())
    })
  const [api, storage] = [serve(answer), serve(stored)]
  const storeUrl = await listen(storage)

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? '/', 'http://hub')
    const token = request.headers.authorization?.replace('Bearer ', '')
    if (token !== tokens.write && token !== tokens.read) {
      // a hub that repeats what it was sent
      return json(response, 401, { error: `Invalid credentials: ${token}` })
    }
    if (request.method !== 'GET' && token === tokens.read) return json(response, 403, { error: 'needs write access' })
    const body = await bodyOf(request)
    if (pathname === '/api/repos/create') {
      const { organization, name, visibility } = JSON.parse(body.toString())
      if (organization === 'nobody') return json(response, 404, { error: 'Not Found' })
      const id = `${organization}/${name}`
      if (hub.repositories.has(id)) return json(response, 409, { error: 'exists' })
      addRepository(hub, id, visibility === 'private')
      return json(response, 200, { url: `${hub.url}/${id}`, id })
    }
    const match = /^\/(?:api\/models\/)?([^/]+\/[^/]+?)(?:\.git)?\/(revision|branch|preupload|info|commit)\/(.+)$/.exec(
      pathname,
    )
    if (match === null) return json(response, 404, { error: 'no such page' })
    const [, id, action, rest] = match as unknown as [string, string, string, string]
    const repository = hub.repositories.get(id)
    if (repository === undefined) return json(response, 404, { error: 'Repository not found' })
    const branch = decodeURIComponent(rest)
    if (action === 'revision') return json(response, 200, { _id: 'x', id, private: repository.private, sha: '0' })
    if (action === 'branch') {
      if (repository.branches.has(branch)) return json(response, 409, { error: 'exists' })
      repository.branches.set(branch, new Map(repository.branches.get('main')))
      return json(response, 200, {})
    }
    if (action === 'preupload') {
      const { files } = JSON.parse(body.toString()) as { files: { path: string; size: number }[] }
      const uploadMode = (path: string) => (/\.(safetensors|gguf|onnx|onnx_data)$/.test(path) ? 'lfs' : 'regular')
      return json(response, 200, { files: files.map(({ path }) => ({ path, uploadMode: uploadMode(path) })) })
    }
    if (action === 'info') return json(response, 200, batch(JSON.parse(body.toString())))
    commit(response, repository, branch, body.toString())
  }

  function batch({ objects }: { objects: { oid: string; size: number }[] }): object {
    const href = (oid: string) => `${storeUrl}/${oid}`
    const header = (oid: string, size: number) => {
      if (hub.partBytes === 0) return {}
      const count = Math.ceil(size / hub.partBytes)
      const numbers = Array.from({ length: count }, (_, i) => String(i + 1).padStart(5, '0'))
      return {
        chunk_size: String(hub.partBytes),
        ...Object.fromEntries(numbers.map((n) => [n, `${href(oid)}?part=${n}&X-Amz-Signature=secret`])),
      }
    }
    return {
      transfer: hub.partBytes === 0 ? 'basic' : 'multipart',
      objects: objects.map(({ oid, size }) => ({
        ...{ oid, size },
        ...(!store.has(oid) && {
          actions: { upload: { href: `${href(oid)}?X-Amz-Signature=secret`, header: header(oid, size) } },
        }),
      })),
    }
  }

  async function stored(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams: query } = new URL(request.url ?? '/', 'http://store')
    const oid = pathname.slice(1)
    if (request.method === 'POST') {
      store.set(oid, Buffer.concat(parts.get(oid) ?? []))
      return json(response, 200, {})
    }
    if (hub.breakOff.times > 0 && Number(request.headers['content-length']) > hub.breakOff.largerThan) {
      hub.breakOff.times -= 1
      let bytes = 0
      for await (const chunk of request) {
        bytes += chunk.length
        if (bytes >= hub.breakOff.afterBytes) return void request.socket.destroy()
      }
    }
    // as S3 does, for a stream of unknown length
    if (request.headers['content-length'] === undefined) return json(response, 411, {})
    const body = await bodyOf(request)
    if (hub.storeStatus !== 200) return void response.writeHead(hub.storeStatus).end('<Error>AccessDenied</Error>')
    const part = query.get('part')
    if (part === null) store.set(oid, body)
    else {
      const list = parts.get(oid) ?? []
      list[Number(part) - 1] = body
      parts.set(oid, list)
    }
    response.writeHead(200, { ETag: '"part"' }).end()
  }

  function commit(response: ServerResponse, repository: UploadedRepository, branch: string, body: string): void {
    const files = repository.branches.get(branch)
    if (files === undefined) return void json(response, 404, { error: 'Revision not found' })
    const added = new Map<string, Buffer>()
    for (const { key, value } of body.split('\n').map((line) => JSON.parse(line))) {
      if (key === 'header') repository.messages.push(value.summary)
      else if (key === 'file') added.set(value.path, Buffer.from(value.content, 'base64'))
      else {
        const bytes = store.get(value.oid)
        const hash = createHash('sha256')
          .update(bytes ?? '')
          .digest('hex')
        if (bytes === undefined || hash !== value.oid)
          return void json(response, 422, { error: `${value.path} has not arrived` })
        added.set(value.path, bytes)
      }
    }
    for (const [path, bytes] of added) files.set(path, bytes)
    json(response, 200, { commitOid: 'c0ffee', commitUrl: `${hub.url}/commit/c0ffee` })
  }

  return Object.assign(hub, { url: await listen(api) })
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

export function addRepository(hub: FakeUploadHub, id: string, isPrivate = false): void {
  hub.repositories.set(id, { private: isPrivate, branches: new Map([['main', new Map()]]), messages: [] })
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

function json(response: ServerResponse, status: number, value: object): void {
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(value))
}
