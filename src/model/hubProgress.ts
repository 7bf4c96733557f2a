/** Bytes of everything that is being downloaded, and the file that is on its way. */
export interface HubProgress {
  readonly file: string
  readonly doneBytes: number
  readonly totalBytes: number
}
