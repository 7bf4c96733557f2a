import { createRequire } from 'node:module'

/** A repository of the hub. */
export interface Repository {
  readonly type: 'model' | 'dataset'
  /** `owner/name`. */
  readonly name: string
}

/** A file or folder in a repository's tree. */
export interface HubEntry {
  readonly type: string
  readonly path: string
  readonly size: number
  /** SHA-1 of git's blob. */
  readonly oid?: string
  /** SHA-256 of the content of a large file. */
  readonly lfs?: { readonly oid: string }
}

/** An answer of the hub, or of the store it keeps large files in, that is no success. */
export interface HubApiError extends Error {
  readonly statusCode: number
  readonly url: string
  /** The body of the answer. */
  readonly data?: { readonly error?: unknown; readonly message?: unknown }
}

interface Access {
  readonly hubUrl: string
  readonly accessToken?: string
  readonly fetch: typeof fetch
}

/** The part of @huggingface/hub that is used here. */
interface HubLibrary {
  modelInfo(options: Access & Partial<RevisionOf> & { readonly name: string }): Promise<{
    readonly sha?: string
    readonly private: boolean
  }>
  datasetInfo(options: Access & RevisionOf): Promise<{ readonly sha?: string }>
  /** Does not encode the revision. */
  listFiles(
    options: Access & { readonly repo: Repository; readonly revision: string; readonly recursive: boolean },
  ): AsyncIterable<HubEntry>
  /** Null when there is no such file. */
  downloadFile(
    options: Access & { readonly repo: Repository; readonly revision: string; readonly path: string },
  ): Promise<InstanceType<typeof Blob> | null>
  /** Throws a `HubApiError` of 409 where there is one of this name. */
  createRepo(
    options: Access & { readonly repo: Repository; readonly visibility?: 'private' },
  ): Promise<{ readonly repoUrl: string }>
  /** Throws a `HubApiError` of 409 where there is one of this name. */
  createBranch(options: Access & { readonly repo: Repository; readonly branch: string }): Promise<void>
  /** Hashes large files, sends those that are not there yet and commits all at once. */
  commit(
    options: Access & {
      readonly repo: Repository
      readonly branch: string
      readonly title: string
      readonly operations: readonly {
        readonly operation: 'addOrUpdate'
        readonly path: string
        readonly content: URL
      }[]
      readonly useXet: boolean
      readonly abortSignal?: AbortSignal
    },
  ): Promise<{ readonly commit: { readonly oid: string; readonly url: string } }>
  readonly HubApiError: new (url: string, statusCode: number) => HubApiError
}

interface RevisionOf {
  readonly name: string
  readonly revision: string
  readonly additionalFields: readonly ['sha']
}

/**
 * The hub's library. It is required, not imported, because the declarations of 2.17.5 do not compile with library checks
 * on: they override properties of `Blob` by accessors.
 */
export const hubLibrary = createRequire(import.meta.url)('@huggingface/hub') as HubLibrary
