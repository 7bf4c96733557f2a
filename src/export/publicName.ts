import { existsSync } from 'node:fs'

/** Data files that are named without a folder that exists any more. */
const dataFile = /\.(txt|md|json|jsonl|csv|tsv|parquet|gguf|safetensors)$/i

/**
 * `name` as it may stand in an export, which people publish: of a path of this machine the last part, anything else (`owner/name`,
 * `wikitext2:test`) as it is.
 */
export function publicName(name: string): string {
  const isPath = /^([/\\~.]|[A-Za-z]:[/\\])/.test(name) || dataFile.test(name) || existsSync(name)
  return isPath ? (name.split(/[/\\]/).findLast((part) => part !== '') ?? name) : name
}

/** Keys of config.json and tokenizer_config.json that hold where a person had the model. */
const nameKeys = ['_name_or_path', 'name_or_path', 'tokenizer_file', 'special_tokens_map_file']

/** `config` with public names. */
export function withPublicNames<T extends Readonly<Record<string, unknown>>>(config: T): T {
  const named = nameKeys.flatMap((key) => {
    const value = config[key]
    return typeof value === 'string' ? [[key, publicName(value)]] : []
  })
  return { ...config, ...Object.fromEntries(named) }
}
