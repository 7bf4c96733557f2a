import { createHash, type Hash } from 'node:crypto'
import { copyFile, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { CalibrationError, CheckpointError, ToolkitError } from '../errors.ts'
import { stageFile, writeFileAtomic } from '../format/atomicFile.ts'
import { makeFolder } from '../format/makeFolder.ts'
import { temporaryBeside } from '../format/temporaries.ts'
import type { StopSignal } from '../types.ts'
import { hubCachePath } from './hubCache.ts'
import { type HubEntry, hubLibrary, type Repository } from './hubLibrary.ts'
import type { HubProgress } from './hubProgress.ts'
import { hubToken } from './hubToken.ts'

export interface SnapshotRequest {
  readonly repository: Repository
  /** Branch, tag or commit. */
  readonly revision: string
  /** Which of the repository's files are wanted; throws an error of the toolkit when they do not serve. */
  readonly select: (paths: readonly string[]) => readonly string[]
  readonly onProgress?: ((progress: HubProgress) => void) | undefined
  readonly signal?: StopSignal | undefined
}

export interface Snapshot {
  /** Holds the wanted files under their own paths. */
  readonly folder: string
  readonly paths: readonly string[]
}

/**
 * The wanted files of a repository, downloaded into the cache that Python's huggingface_hub shares (HF_HUB_CACHE or
 * HF_HOME; `blobs`, `snapshots`, `refs`) where they are missing. Files are verified by their hashes and get their names in
 * the snapshot when all are there, so that a killed download leaves nothing that looks whole. With HF_HUB_OFFLINE, or
 * where the hub cannot be reached, the cache must do. HF_ENDPOINT and the token of `hubToken` are honoured. Throws `CheckpointError` for
 * a model, `CalibrationError` for a data set, with the cure.
 */
export async function downloadSnapshot(request: SnapshotRequest): Promise<Snapshot> {
  const snapshot = await findSnapshot(request)
  if ('missing' in snapshot) throw snapshot.missing
  return snapshot
}

/** A revision that is not on the hub, or not in the cache where the cache must do, and the error that says so. */
export interface MissingSnapshot {
  readonly missing: ToolkitError
}

/** `downloadSnapshot` for a revision that may not exist. */
export async function findSnapshot(request: SnapshotRequest): Promise<Snapshot | MissingSnapshot> {
  const { repository, revision } = request
  if (!/^[\w][\w./-]*$/.test(revision) || revision.includes('..')) {
    throw failure(request, `revision ${JSON.stringify(revision)} is none, expected a branch, a tag or a commit`)
  }
  const folder = join(hubCachePath(), `${repository.type}s--${repository.name.replaceAll('/', '--')}`)
  if (isOffline()) {
    return cachedSnapshot(request, folder, 'HF_HUB_OFFLINE is set', 'unset it once to download')
  }
  if (commitPattern.test(revision)) {
    // a commit never changes: what is there needs no question
    const cached = await findCached(request, folder)
    if (cached !== undefined) return cached
  }
  const access = await hubAccess(request)
  let entries: readonly HubEntry[]
  let commit: string
  try {
    commit = await commitOf(request, access)
    entries = await listEntries(request, access, commit)
  } catch (cause) {
    if (isNotFound(cause)) return { missing: explained(request, cause) as ToolkitError }
    if (!isUnreachable(cause)) throw explained(request, cause)
    return cachedSnapshot(
      request,
      folder,
      `${access.hubUrl} cannot be reached (${reasonOf(cause)})`,
      'check the network',
      cause,
    )
  }
  const paths = request.select(entries.map((entry) => entry.path))
  const wanted = entries.filter((entry) => paths.includes(entry.path))
  await makeFolder(join(folder, 'blobs'))
  const missing: HubEntry[] = []
  for (const entry of wanted) if (!(await isWhole(blobPath(folder, entry), entry.size))) missing.push(entry)
  const progress = progressOf(request, missing)
  for (const entry of missing) await downloadBlob(request, access, commit, entry, blobPath(folder, entry), progress)
  const snapshot = join(folder, 'snapshots', commit)
  for (const entry of wanted) await link(blobPath(folder, entry), join(snapshot, entry.path))
  if (revision !== commit) {
    const reference = join(folder, 'refs', revision)
    await makeFolder(dirname(reference))
    await writeFileAtomic(reference, commit)
  }
  return { folder: snapshot, paths }
}

const commitPattern = /^[0-9a-f]{40}$/

/** A cut connection is taken up this many times where it broke off. */
const maxAttempts = 4
const retryDelayMs = 250

function isOffline(): boolean {
  return /^(1|on|yes|true)$/i.test(process.env['HF_HUB_OFFLINE'] ?? '')
}

type Access = Awaited<ReturnType<typeof hubAccess>>

async function hubAccess(request: SnapshotRequest) {
  const token = await hubToken().catch((cause: Error) => {
    throw failure(request, cause.message, cause)
  })
  // fetch and timers want the class; what callers hand in is one, or fires the same events
  const signal = request.signal as AbortSignal | undefined
  const fetchWithSignal: typeof fetch = (input, init) => fetch(input, signal ? { ...init, signal } : init)
  return {
    hubUrl: (process.env['HF_ENDPOINT'] || 'https://huggingface.co').replace(/\/+$/, ''),
    ...(token !== undefined && { accessToken: token }),
    fetch: fetchWithSignal,
  }
}

async function commitOf(request: SnapshotRequest, access: Access): Promise<string> {
  const { repository, revision } = request
  const info = repository.type === 'model' ? hubLibrary.modelInfo : hubLibrary.datasetInfo
  const { sha } = await info({ ...access, name: repository.name, revision, additionalFields: ['sha'] })
  if (sha === undefined || !commitPattern.test(sha)) {
    throw failure(
      request,
      `the hub names commit ${JSON.stringify(sha)}, expected 40 hexadecimal digits; is HF_ENDPOINT a hub?`,
    )
  }
  return sha
}

async function listEntries(request: SnapshotRequest, access: Access, commit: string): Promise<HubEntry[]> {
  const entries: HubEntry[] = []
  const listing = hubLibrary.listFiles({ ...access, repo: request.repository, revision: commit, recursive: true })
  for await (const entry of listing) if (entry.type === 'file') entries.push(checkedEntry(request, entry))
  return entries
}

/** Paths and hashes come from a stranger and become paths in the cache. */
function checkedEntry(request: SnapshotRequest, entry: HubEntry): HubEntry {
  const parts = entry.path.split('/')
  if (/[\\:\0]/.test(entry.path) || parts.some((part) => part === '' || part === '.' || part === '..')) {
    throw failure(request, `the hub names a file ${JSON.stringify(entry.path)}, expected a path inside the repository`)
  }
  const hash = entry.lfs === undefined ? /^[0-9a-f]{40}$/.test(entry.oid ?? '') : /^[0-9a-f]{64}$/.test(entry.lfs.oid)
  if (!hash || !Number.isSafeInteger(entry.size) || entry.size < 0) {
    throw failure(request, `the hub gives ${entry.path} no size or hash to check it by; is HF_ENDPOINT a hub?`)
  }
  return entry
}

function blobPath(folder: string, entry: HubEntry): string {
  return join(folder, 'blobs', entry.lfs?.oid ?? (entry.oid as string))
}

async function isWhole(path: string, size: number): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.size === size
}

function progressOf(request: SnapshotRequest, missing: readonly HubEntry[]) {
  const totalBytes = missing.reduce((sum, entry) => sum + entry.size, 0)
  let doneBytes = 0
  return (file: string, bytes: number): void => {
    doneBytes += bytes
    request.onProgress?.({ file, doneBytes, totalBytes })
  }
}

async function downloadBlob(
  request: SnapshotRequest,
  access: Access,
  commit: string,
  entry: HubEntry,
  path: string,
  progress: (file: string, bytes: number) => void,
): Promise<void> {
  const chunks = verified(request, entry, received(request, access, commit, entry, progress))
  const staged = await stageFile(path, chunks, { sizeBytes: entry.size, signal: request.signal })
  await staged.commit()
}

/** The bytes of a file, taken up again where the connection broke off. */
async function* received(
  request: SnapshotRequest,
  access: Access,
  commit: string,
  entry: HubEntry,
  progress: (file: string, bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  let done = 0
  for (let attempt = 1; ; attempt++) {
    try {
      const options = { ...access, repo: request.repository, revision: commit, path: encodedPath(entry.path) }
      const blob = await hubLibrary.downloadFile(options)
      if (blob === null) throw failure(request, `${entry.path} is listed but not there; try again`)
      const rest = done === 0 ? blob : blob.slice(done, entry.size)
      for await (const chunk of rest.stream() as AsyncIterable<Uint8Array>) {
        done += chunk.length
        if (done > entry.size) break
        progress(entry.path, chunk.length)
        yield chunk
      }
      if (done >= entry.size) return
      throw new Error(`ended after ${done} bytes`)
    } catch (cause) {
      request.signal?.throwIfAborted()
      if (cause instanceof ToolkitError) throw cause
      if (cause instanceof hubLibrary.HubApiError && cause.statusCode < 500) throw explained(request, cause)
      if (attempt === maxAttempts) {
        throw failure(
          request,
          `${entry.path} broke off after ${done} of ${entry.size} bytes (${reasonOf(cause)}); check the network and try again`,
          cause,
        )
      }
      await setTimeout(
        retryDelayMs * attempt,
        undefined,
        request.signal ? { signal: request.signal as AbortSignal } : {},
      )
    }
  }
}

function encodedPath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/')
}

/** The chunks, and an error instead of an end when together they are not the file. */
async function* verified(
  request: SnapshotRequest,
  entry: HubEntry,
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const hash: Hash = entry.lfs ? createHash('sha256') : createHash('sha1').update(`blob ${entry.size}\0`)
  let size = 0
  for await (const chunk of chunks) {
    hash.update(chunk)
    size += chunk.length
    yield chunk
  }
  const expected = entry.lfs?.oid ?? entry.oid
  const found = hash.digest('hex')
  if (found !== expected) {
    throw failure(
      request,
      `${entry.path} came with hash ${found} and ${size} bytes, expected ${expected} and ${entry.size}; try again, and look for a proxy that changes files`,
    )
  }
}

/** A file of the snapshot: a relative link to the blob, or a copy where the system has no links. */
async function link(blob: string, path: string): Promise<void> {
  if ((await stat(path).catch(() => undefined)) !== undefined) return
  await makeFolder(dirname(path))
  const temporary = temporaryBeside(path, 'tmp')
  try {
    await symlink(relative(dirname(path), blob), temporary)
  } catch {
    await copyFile(blob, temporary)
  }
  try {
    await rename(temporary, path)
  } catch (cause) {
    await rm(temporary, { force: true })
    throw cause
  }
}

async function cachedSnapshot(
  request: SnapshotRequest,
  folder: string,
  why: string,
  cure: string,
  cause?: unknown,
): Promise<Snapshot | MissingSnapshot> {
  const cached = await findCached(request, folder)
  if (cached !== undefined) return cached
  const missing = failure(
    request,
    `${why}, and the cache ${dirname(folder)} does not have revision ${request.revision} whole; ${cure}, or name a local ${request.repository.type === 'model' ? 'folder' : 'file'}`,
    cause,
  )
  return { missing }
}

/** The wanted files of the revision, if the cache has them all. */
async function findCached(request: SnapshotRequest, folder: string): Promise<Snapshot | undefined> {
  const { revision } = request
  const referenced = await readFile(join(folder, 'refs', revision), 'utf8').catch(() => undefined)
  const commit = referenced?.trim() ?? revision
  if (!commitPattern.test(commit)) return undefined
  const snapshot = join(folder, 'snapshots', commit)
  const names = await readdir(snapshot, { recursive: true }).catch(() => [])
  const present: string[] = []
  for (const name of names) if ((await stat(join(snapshot, name)).catch(() => undefined))?.isFile()) present.push(name)
  try {
    const paths = request.select(present.map((path) => path.replaceAll('\\', '/')).sort())
    return hasAllParts(paths) ? { folder: snapshot, paths } : undefined
  } catch (error) {
    // what is there does not serve: the rest was never downloaded
    if (error instanceof ToolkitError) return undefined
    throw error
  }
}

/** Whether of `model-00002-of-00003.safetensors` and its like all are there. */
function hasAllParts(paths: readonly string[]): boolean {
  return paths.every((path) => {
    const match = /^(.*-)\d+(-of-(\d+)\D*)$/.exec(path)
    if (match === null) return true
    const [, before, after, count] = match as unknown as [string, string, string, string]
    return paths.filter((other) => other.startsWith(before) && other.endsWith(after)).length === Number(count)
  })
}

function isNotFound(cause: unknown): boolean {
  return cause instanceof hubLibrary.HubApiError && cause.statusCode === 404
}

function isUnreachable(cause: unknown): boolean {
  return cause instanceof TypeError && cause.message === 'fetch failed'
}

function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause)
  const inner = cause.cause as NodeJS.ErrnoException | undefined
  return inner?.code ?? (inner?.message || cause.message)
}

/** An error of the hub's library as one that says what to do. */
function explained(request: SnapshotRequest, cause: unknown): unknown {
  request.signal?.throwIfAborted()
  if (cause instanceof ToolkitError) return cause
  const { repository, revision } = request
  const status = cause instanceof hubLibrary.HubApiError ? cause.statusCode : undefined
  const kind = repository.type === 'model' ? 'model' : 'data set'
  if (isNotFound(cause)) {
    return failure(
      request,
      `the hub has no such ${kind} at revision "${revision}" (404); check the name and the revision`,
      cause,
    )
  }
  if (status === 401 || status === 403) {
    const cure =
      'accept its terms on its page, and set HF_TOKEN to an access token of that account, or log in with "hf auth login"'
    return failure(
      request,
      `the hub refuses access (${status}); if the name is right, the ${kind} is private or gated: ${cure}`,
      cause,
    )
  }
  return failure(request, `the hub does not answer as expected (${reasonOf(cause)}); try again later`, cause)
}

function failure(request: SnapshotRequest, message: string, cause?: unknown): CheckpointError | CalibrationError {
  const text = `${request.repository.name}: ${message}`
  const options = cause === undefined ? undefined : { cause }
  return request.repository.type === 'model' ? new CheckpointError(text, options) : new CalibrationError(text, options)
}
