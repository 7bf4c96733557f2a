import { readdir, stat } from 'node:fs/promises'
import { basename, join, relative } from 'node:path'
import { OutputError, ToolkitError } from '../errors.ts'
import { planHash } from '../export/exportRecord.ts'
import { contentHash } from '../model/contentHash.ts'
import type { Model } from '../model/model.ts'
import type { PruningPlan } from '../types.ts'
import { exportedFiles } from '../verify/exportedFiles.ts'

/**
 * Throws `OutputError` where an export of `model` to `path` would replace anything but an earlier export of the same: of `plan`, or,
 * in a run directory, of any plan of the model. Nothing else is replaced without `force`.
 */
export async function checkReplaceable(
  path: string,
  model: Model,
  plan: PruningPlan | undefined,
  force: boolean,
): Promise<void> {
  if (force) return
  const found = await foundAt(path, model, plan)
  if (found === undefined) return
  throw new OutputError(
    `${path}: ${found}, expected nothing, an empty folder or an earlier export of the same plan; name another place, or replace it with --force`,
  )
}

/**
 * Throws `OutputError` where a run in `directory` would replace a plan.json that no run made there: a run has its journal beside it,
 * which says whether it is the same.
 */
export async function checkRunDirectory(directory: string, force: boolean): Promise<void> {
  const { names } = await filesAt(join(directory, 'plan.json'))
  const { names: journals } = await filesAt(join(directory, 'journal.jsonl'))
  if (names.length === 0 || journals.length > 0 || force) return
  throw new OutputError(
    `${join(directory, 'plan.json')}: is there without the journal of a run, expected a new folder or that of the same run; name another, or replace it with --force`,
  )
}

/** What is at `path` that must stay; undefined: nothing. */
async function foundAt(path: string, model: Model, plan: PruningPlan | undefined): Promise<string | undefined> {
  const { names, isFolder } = await filesAt(path)
  if (names.length === 0) return undefined
  let record: Awaited<ReturnType<typeof exportedFiles>>['record']
  try {
    record = (await exportedFiles(path)).record
  } catch (error) {
    if (!(error instanceof ToolkitError)) throw error
    return isFolder ? `has other files (${names[0]} …)` : 'is another file'
  }
  if (record === undefined) return 'does not say that it is an export of this package'
  if (record.sourceSha256 !== (await contentHash(model))) return 'is an export of another model'
  if (plan !== undefined && record.planSha256 !== planHash(plan, model.applied)) return 'is an export of another plan'
  const foreign = isFolder ? names.find((name) => !isOurs(name, model)) : undefined
  return foreign === undefined ? undefined : `has a file that is no part of an export (${foreign})`
}

/** Files below a folder by their paths, or the name of a file; none where there is nothing, or an empty file. */
async function filesAt(path: string): Promise<{ readonly names: string[]; readonly isFolder: boolean }> {
  try {
    const found = await stat(path)
    if (!found.isDirectory()) return { names: found.size === 0 ? [] : [basename(path)], isFolder: false }
    const entries = await readdir(path, { recursive: true, withFileTypes: true })
    const files = entries.filter((entry) => !entry.isDirectory())
    return { names: files.map((file) => relative(path, join(file.parentPath, file.name))), isFolder: true }
  } catch (error) {
    // below a file there is nothing either; who writes there says so
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return { names: [], isFolder: false }
    throw error
  }
}

/** Whether an export of `model` has a file of that name. */
function isOurs(name: string, { assets }: Model): boolean {
  return (
    assets.has(name.replaceAll('\\', '/')) ||
    /^(config\.json|README\.md|model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json)$/.test(name) ||
    /^(modeling|configuration)_blockpruner(_decilm)?\.py$/.test(name) ||
    /^onnx[/\\][a-z]+(_[a-z0-9]+)*\.onnx(_data(_\d+)?)?$/.test(name)
  )
}
