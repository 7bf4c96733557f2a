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

/** An answer of the hub that is no success. */
export interface HubApiError extends Error {
  readonly statusCode: number
}

interface Access {
  readonly hubUrl: string
  readonly accessToken?: string
  readonly fetch: typeof fetch
}

/** The part of @huggingface/hub that is used here. */
interface HubLibrary {
  getHFHubCachePath(): string
  modelInfo(options: Access & RevisionOf): Promise<{ readonly sha?: string }>
  datasetInfo(options: Access & RevisionOf): Promise<{ readonly sha?: string }>
  /** Does not encode the revision. */
  listFiles(
    options: Access & { readonly repo: Repository; readonly revision: string; readonly recursive: boolean },
  ): AsyncIterable<HubEntry>
  /** Null when there is no such file. */
  downloadFile(
    options: Access & { readonly repo: Repository; readonly revision: string; readonly path: string },
  ): Promise<InstanceType<typeof Blob> | null>
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
