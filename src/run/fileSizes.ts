import { readdir, stat } from 'node:fs/promises'
import { basename, join, relative } from 'node:path'

/** A file of an export that holds weights. */
export interface ExportedFile {
  /** Below the export. */
  readonly name: string
  readonly sizeBytes: number
}

/** The files with weights of an export, a file or a folder; an .onnx file with its data. */
export async function filesAt(path: string): Promise<ExportedFile[]> {
  const found = await stat(path)
  if (!found.isDirectory()) return [{ name: basename(path), sizeBytes: found.size }]
  const entries = await readdir(path, { recursive: true, withFileTypes: true })
  const sizes = new Map<string, number>()
  for (const entry of entries.filter((each) => each.isFile())) {
    const file = join(entry.parentPath, entry.name)
    if (!/\.(safetensors|onnx|onnx_data(_\d+)?)$/.test(entry.name)) continue
    const name = relative(path, file).replace(/_data(_\d+)?$/, '')
    sizes.set(name, (sizes.get(name) ?? 0) + (await stat(file)).size)
  }
  return [...sizes].map(([name, sizeBytes]) => ({ name, sizeBytes })).sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** Bytes of files. */
export async function sizeOf(paths: readonly string[]): Promise<number> {
  const sizes = await Promise.all(paths.map(async (path) => (await stat(path)).size))
  return sizes.reduce((total, size) => total + size, 0)
}
