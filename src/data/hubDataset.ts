import { join } from 'node:path'
import { CalibrationError } from '../errors.ts'
import type { HubProgress } from '../model/hubProgress.ts'
import { downloadSnapshot, findSnapshot } from '../model/hubSnapshot.ts'
import type { StopSignal } from '../types.ts'

/** One split of a data set on the hub. */
export interface DatasetSplit {
  /** `owner/name`. */
  readonly repository: string
  /** Absent: the only one, or the one called `default`. */
  readonly config?: string | undefined
  readonly split: string
}

export interface DatasetOptions {
  readonly onProgress?: ((progress: HubProgress) => void) | undefined
  readonly signal?: StopSignal | undefined
}

/** The branch on which the hub keeps every data set as parquet: `config/split/0000.parquet`. */
const parquetRevision = 'refs/convert/parquet'

/**
 * Parquet files of the split, in order, in the hub's shared cache: from the hub's own conversion, else from the
 * repository where its author keeps parquet files. Throws `CalibrationError` with the configurations or splits there are.
 */
export async function datasetFiles(wanted: DatasetSplit, options: DatasetOptions = {}): Promise<string[]> {
  const repository = { type: 'dataset', name: wanted.repository } as const
  const converted = await findSnapshot({
    ...{ repository, ...options, revision: parquetRevision },
    select: (paths) => convertedFiles(wanted, paths),
  })
  const { folder, paths } =
    'missing' in converted
      ? await downloadSnapshot({ repository, ...options, revision: 'main', select: (all) => ownFiles(wanted, all) })
      : converted
  return paths.map((path) => join(folder, path))
}

function convertedFiles(wanted: DatasetSplit, paths: readonly string[]): string[] {
  const parquet = paths.filter((path) => /^[^/]+\/[^/]+\/[^/]+\.parquet$/.test(path)).sort()
  const configs = [...new Set(parquet.map((path) => path.split('/')[0] as string))]
  const config = chooseConfig(wanted, configs)
  // of a data set that is too large, the hub converts the first gigabytes only and says so
  const splitOf = (path: string) => (path.split('/')[1] as string).replace(/^partial-/, '')
  const ofConfig = parquet.filter((path) => path.startsWith(`${config}/`))
  return checkedSplit(wanted, ofConfig, splitOf)
}

/** `data/test-00000-of-00001.parquet`, `config/test-00000-of-00001.parquet`, `config/test/0000.parquet` and their like. */
function ownFiles(wanted: DatasetSplit, paths: readonly string[]): string[] {
  const parquet = paths.filter((path) => path.endsWith('.parquet')).sort()
  if (parquet.length === 0) {
    throw new CalibrationError(
      `${wanted.repository}: has no parquet files, neither its own nor on ${parquetRevision}; download it and pass a .txt, .jsonl or .parquet file`,
    )
  }
  const folderOf = (path: string) => path.split('/').slice(0, -1)[0] ?? 'default'
  const configs = [...new Set(parquet.map(folderOf))].map((folder) => (folder === 'data' ? 'default' : folder))
  const config = chooseConfig(wanted, configs)
  const ofConfig = parquet.filter((path) => [config, config === 'default' ? 'data' : config].includes(folderOf(path)))
  const splitOf = (path: string) => {
    const parts = path.split('/')
    const inFolder = parts.length > 2 ? parts.at(-2) : undefined
    return inFolder ?? (parts.at(-1) as string).replace(/(-\d+-of-\d+)?(-[0-9a-f]{16})?\.parquet$/, '')
  }
  return checkedSplit(wanted, ofConfig, splitOf)
}

function chooseConfig({ repository, config }: DatasetSplit, available: readonly string[]): string {
  const chosen = config ?? (available.length === 1 ? available[0] : 'default')
  if (chosen !== undefined && available.includes(chosen)) return chosen
  throw new CalibrationError(
    config === undefined
      ? `${repository}: has several configurations, ${available.join(', ')}; name one as ${repository}:${available[0]}:split`
      : `${repository}: has no configuration "${config}", its configurations are ${available.join(', ')}`,
  )
}

function checkedSplit(
  { repository, split }: DatasetSplit,
  paths: readonly string[],
  splitOf: (path: string) => string,
): string[] {
  const files = paths.filter((path) => splitOf(path) === split)
  if (files.length > 0) return files
  const splits = [...new Set(paths.map(splitOf))]
  throw new CalibrationError(`${repository}: has no split "${split}", its splits are ${splits.join(', ')}`)
}
