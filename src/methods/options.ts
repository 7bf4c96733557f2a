import { PlanError } from '../errors.ts'
import { suggestionFor } from '../nearestName.ts'

/** One option of a method or a search: a flag of the command line, a key of the library's options and an entry of plan.json. */
export type MethodOption = { readonly says: string } & (
  | {
      readonly type: 'choice'
      readonly choices: readonly string[]
      readonly default: string
      /** The path of a plan will do as well. */
      readonly orPlan?: true
    }
  /** Absent default: the option is off. */
  | {
      readonly type: 'number'
      readonly from: number
      readonly to: number
      readonly whole?: true
      readonly default?: number
    }
  | { readonly type: 'flag'; readonly default: boolean }
  /** Names; on the command line separated by commas. */
  | { readonly type: 'list' }
)

/** Options by the name that plan.json has for them. */
export type OptionSchema = Readonly<Record<string, MethodOption>>

export type OptionValue = string | number | boolean | readonly string[]

/** Options whose method is known only when the program runs. */
export type MethodOptions = Readonly<Record<string, OptionValue | undefined>>

/** The path of a plan.json, where a name could stand as well. */
export type PlanPath = `${string}.json`

export const isPlanPath = (text: string): text is PlanPath => text.endsWith('.json')

type ValueOf<Option> = Option extends { readonly type: 'choice'; readonly choices: readonly (infer Choice)[] }
  ? Choice | (Option extends { readonly orPlan: true } ? PlanPath : never)
  : Option extends { readonly type: 'number' }
    ? number
    : Option extends { readonly type: 'list' }
      ? readonly string[]
      : boolean

/** What the loop of a method gets: every option that has a default, the others where they are given. */
export type OptionsOf<Schema extends OptionSchema> = {
  readonly [Name in keyof Schema as Schema[Name] extends { readonly default: OptionValue } ? Name : never]: ValueOf<
    Schema[Name]
  >
} & {
  readonly [Name in keyof Schema as Schema[Name] extends { readonly default: OptionValue } ? never : Name]?:
    | ValueOf<Schema[Name]>
    | undefined
}

/** What a caller may give: any of the options. */
export type GivenOptions<Schema extends OptionSchema> = {
  readonly [Name in keyof Schema]?: ValueOf<Schema[Name]> | undefined
}

/** The name of an option on the command line, without its dashes: `beam-width` for `beamWidth`. */
export function flagNameOf(option: string): string {
  return option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

/** The option as it is typed: a switch that is on is switched off. */
export function flagOf(name: string, option?: MethodOption): string {
  return option?.type === 'flag' && option.default ? `--no-${flagNameOf(name)}` : `--${flagNameOf(name)}`
}

/** Throws `PlanError` for a value that `option` does not take. */
export function checkValue(name: string, option: MethodOption, value: OptionValue): void {
  const flag = `--${flagNameOf(name)}`
  if (option.type === 'choice') {
    if (typeof value === 'string' && option.choices.includes(value)) return
    if (option.orPlan && typeof value === 'string' && isPlanPath(value)) return
    const advice = suggestionFor(String(value), option.choices)
    const others = option.orPlan ? ', or the path of a plan.json' : ''
    throw new PlanError(`${flag} ${value}: expected one of ${option.choices.join(', ')}${others}${advice}`)
  }
  if (option.type === 'number') {
    const isInside = typeof value === 'number' && value >= option.from && value <= option.to
    if (isInside && (!option.whole || Number.isInteger(value))) return
    const what = option.whole ? 'a whole number' : 'a number'
    throw new PlanError(`${flag} ${value}: expected ${what} from ${option.from} to ${option.to}`)
  }
  if (option.type === 'list') {
    if (Array.isArray(value) && value.every((part) => typeof part === 'string')) return
    throw new PlanError(`${flag} ${value}: expected a list of names`)
  }
  if (typeof value !== 'boolean') throw new PlanError(`${flag} ${value}: expected true or false`)
}
