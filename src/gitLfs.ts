/** No pointer of Git LFS is longer (its specification). */
export const maxPointerBytes = 1024

/**
 * What to say of a file at `path` that begins with `start` where it is a pointer of Git LFS, as a clone leaves it without that extension;
 * undefined: it is none. `start`: the first `maxPointerBytes` bytes, or all of them.
 */
export function lfsPointerMessage(path: string, start: Uint8Array): string | undefined {
  const text = new TextDecoder().decode(start.subarray(0, maxPointerBytes))
  if (!text.startsWith('version https://git-lfs.github.com/spec/')) return undefined
  const size = /^size (\d+)$/m.exec(text)?.[1]
  const what = size === undefined ? 'a file' : `a file of ${size} bytes`
  return `${path}: is a pointer of Git LFS to ${what}, not that file; in its repository run "git lfs install" and "git lfs pull", or download it again`
}
