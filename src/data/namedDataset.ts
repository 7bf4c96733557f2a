import { CalibrationError } from '../errors.ts'
import { suggestionFor } from '../nearestName.ts'
import type { DatasetSplit } from './hubDataset.ts'
import { knownDatasets } from './knownDatasets.ts'

export interface NamedDataset extends DatasetSplit {
  readonly name: string
  /** Where the text is, if not in `text`. */
  readonly textColumn?: string | undefined
}

/**
 * The split on the hub that `wikitext2:test`, `alpaca`, `owner/name:split` or `owner/name:config:split` means. Throws
 * `CalibrationError` with what the source could be instead.
 */
export function datasetNamed(source: string): NamedDataset {
  const match = /^(\w[\w.-]*\/\w[\w.-]*):(?:([^:/]+):)?([\w.-]+)$/.exec(source)
  if (match !== null) {
    const [, repository, config, split] = match as unknown as [string, string, string | undefined, string]
    return { name: source, repository, config, split }
  }
  const [short = '', split, ...more] = source.split(':')
  const known = Object.hasOwn(knownDatasets, short) ? knownDatasets[short] : undefined
  if (known === undefined || more.length > 0) throw new CalibrationError(`${source}: ${whatItCouldBe(source, short)}`)
  const chosen = split ?? known.defaultSplit
  if (chosen === undefined || !known.splits.includes(chosen)) {
    const found = split === undefined ? 'names no split' : `has no split "${split}"`
    throw new CalibrationError(
      `${source}: ${found}, expected ${known.splits.map((name) => `${short}:${name}`).join(', ')}`,
    )
  }
  const { repository, config, column } = known
  return { name: `${short}:${chosen}`, repository, config, split: chosen, textColumn: column }
}

function whatItCouldBe(source: string, short: string): string {
  if (/^\w[\w.-]*\/\w[\w.-]*$/.test(source) && !/\.(txt|raw|jsonl?|ndjson|[ct]sv|parquet|gz)$/i.test(source)) {
    return `is no file here; for a data set of the hub, name its split as ${source}:train`
  }
  const names = ['embedded', ...Object.keys(knownDatasets)]
  const expected = `expected a file, ${names.join(', ')}, or owner/name:split`
  return `is no file here and no known data set, ${expected}${suggestionFor(short, names)}`
}
