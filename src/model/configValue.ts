import { isDeepStrictEqual } from 'node:util'
import { UnsupportedModelError } from '../errors.ts'
import type { ModelConfig } from '../types.ts'

/** A positive whole number of config.json, `fallback` where the key is absent or null. */
export function countOf(config: ModelConfig, key: string, fallback?: number): number {
  const value = config[key] ?? fallback
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 1 || value > 2 ** 31) {
    throw new UnsupportedModelError(`config.json: "${key}" is ${show(value)}, expected a whole number from 1 to 2^31`)
  }
  return value
}

/** How many layers a stack has: as `countOf`, or 0 where a plan removed all of them. */
export function layerCountOf(config: ModelConfig, key: string): number {
  return config[key] === 0 ? 0 : countOf(config, key)
}

/** A finite number of config.json, `fallback` where the key is absent or null. */
export function numberOf(config: ModelConfig, key: string, fallback?: number): number {
  const value = config[key] ?? fallback
  if (typeof value !== 'number' || !Number.isFinite(value)) {
    throw new UnsupportedModelError(`config.json: "${key}" is ${show(value)}, expected a finite number`)
  }
  return value
}

/** A finite number above 0 of config.json, `fallback` where the key is absent or null. */
export function positiveOf(config: ModelConfig, key: string, fallback?: number): number {
  const value = config[key] ?? fallback
  if (typeof value !== 'number' || !(value > 0 && value < Number.POSITIVE_INFINITY)) {
    throw new UnsupportedModelError(`config.json: "${key}" is ${show(value)}, expected a finite number above 0`)
  }
  return value
}

/** A list of `count` numbers of config.json, none of them zero. */
export function numbersOf(config: ModelConfig, key: string, count: number): readonly number[] {
  const value = config[key]
  const isNumber = (each: unknown) => typeof each === 'number' && Number.isFinite(each) && each !== 0
  if (Array.isArray(value) && value.length === count && value.every(isNumber)) return value
  const found = Array.isArray(value) ? `a list of ${value.length}` : show(value)
  throw new UnsupportedModelError(`config.json: "${key}" is ${found}, expected a list of ${count} numbers other than 0`)
}

/** A true/false value of config.json, `fallback` where the key is absent or null. */
export function flagOf(config: ModelConfig, key: string, fallback: boolean): boolean {
  const value = config[key] ?? fallback
  if (typeof value !== 'boolean') {
    throw new UnsupportedModelError(`config.json: "${key}" is ${show(value)}, expected true or false`)
  }
  return value
}

/** A string of config.json that must be one of `known`, `fallback` where the key is absent or null. */
export function choiceOf<Choice extends string>(
  config: ModelConfig,
  key: string,
  known: readonly Choice[],
  fallback?: Choice,
): Choice {
  const value = config[key] ?? fallback
  const found = known.find((choice) => choice === value)
  if (found === undefined) {
    throw new UnsupportedModelError(
      `config.json: "${key}" is ${show(value)}, which is not supported; known: ${known.join(', ')}`,
    )
  }
  return found
}

/** A finite number of config.json; undefined where the key is null, `fallback` where it is absent. */
export function numberOrNull(config: ModelConfig, key: string, fallback: number | undefined): number | undefined {
  if (!(key in config)) return fallback
  return config[key] === null ? undefined : numberOf(config, key)
}

/**
 * Throws `UnsupportedModelError` where config.json sets `key` to anything but `supported`, the value it has when it is
 * absent or null: other values change the mathematics.
 */
export function requireValue(config: ModelConfig, key: string, supported: boolean | number | string): void {
  const value = config[key] ?? supported
  if (value !== supported) {
    throw new UnsupportedModelError(
      `config.json: "${key}" is ${show(value)}, which is not supported; expected ${show(supported)}`,
    )
  }
}

/** A setting by the name of its key, and what config.json has there. */
export type Setting = readonly [key: string, value: unknown]

/**
 * What two spellings of a setting say, undefined where both are absent or null. Throws `UnsupportedModelError` with both values where they
 * differ: which one counts depends on the software.
 */
export function agreedValue([key, value]: Setting, [otherKey, other]: Setting): unknown {
  if (value == null || other == null || isDeepStrictEqual(value, other)) return value ?? other ?? undefined
  throw new UnsupportedModelError(
    `config.json: "${key}" is ${show(value)} beside "${otherKey}" ${show(other)}, two names of one setting, which software chooses between ` +
      'in different ways; remove the one that is not meant',
  )
}

/** A nested object of config.json, undefined where the key is absent or null. */
export function objectOf(config: ModelConfig, key: string): ModelConfig | undefined {
  const value = config[key]
  if (value === undefined || value === null) return undefined
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw new UnsupportedModelError(`config.json: "${key}" is ${show(value)}, expected an object`)
  }
  return value as ModelConfig
}

function show(value: unknown): string {
  return value === undefined ? 'missing' : JSON.stringify(value).slice(0, 80)
}
