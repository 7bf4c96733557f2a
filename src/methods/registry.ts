import { PlanError } from '../errors.ts'
import { suggestionFor } from '../nearestName.ts'
import * as list from './list.ts'
import type { Method } from './method.ts'
import { checkValue, flagOf, type GivenOptions, type MethodOptions } from './options.ts'

type Listed = (typeof list)[keyof typeof list]
type NamesOf<Entry> = Entry extends { readonly name: infer Name } ? Name : never
type OptionsByName<Entry extends Listed> = { readonly [E in Entry as E['name']]: GivenOptions<E['options']> }

type Searches = (typeof list)['beam' | 'evolve' | 'exact' | 'fast' | 'swap']

/** Names that `--search` takes. */
export type SearchName = NamesOf<Searches>
/** Names that `--method` takes. */
export type MethodName = Exclude<NamesOf<Listed>, SearchName>
/** The options of each method and search by its name. */
export type OptionsByMethod = OptionsByName<Listed>

/** What a run takes where nothing else is asked for. */
export const defaultMethod: MethodName = 'blockpruner'
/** The search of a method that may be searched. */
export const defaultSearch: SearchName = 'fast'
/** The loop as published, which plan.json does not name. */
export const publishedSearch: SearchName = 'exact'

const all: readonly Method[] = Object.values(list)

/** Every method, in the order of their files. */
export const methods = all.filter(({ role }) => role === 'method')

/** Every search of a plan. */
export const searches = all.filter(({ role }) => role === 'search')

/** The method called `name`. Throws `PlanError` with the nearest name for an unknown one. */
export function methodOf(name: string): Method {
  return found('method', name, methods)
}

/** The method or search called `name`. Throws `PlanError` with the nearest name for an unknown one. */
export function methodNamed(name: string): Method {
  return all.find((method) => method.name === name) ?? methodOf(name)
}

/** The method to take where none is named: the one that an option of `given` means, else the default. */
export function methodMeant(given: MethodOptions): Method {
  const meant = methods.find(({ chosenBy }) => chosenBy !== undefined && given[chosenBy] !== undefined)
  return meant ?? methodOf(defaultMethod)
}

/** The search called `name`. Throws `PlanError` with the nearest name for an unknown one. */
export function searchOf(name: string): Method {
  return found('search', name, searches)
}

function found(role: Method['role'], name: string, among: readonly Method[]): Method {
  const match = among.find((method) => method.name === name)
  if (match !== undefined) return match
  const names = among.map((method) => method.name)
  throw new PlanError(
    `--${role} ${name}: is no ${role}, expected one of ${names.join(', ')}${suggestionFor(name, names)}`,
  )
}

/**
 * The options of `method` with its defaults where nothing is given. Throws `PlanError` for an option that it does not have and
 * for a value that the option does not take.
 */
export function optionsOf(method: Method, given: MethodOptions = {}): MethodOptions {
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined) continue
    const option = Object.hasOwn(method.options, name) ? method.options[name] : undefined
    if (option === undefined) throw foreignOption(method, name)
    checkValue(name, option, value)
  }
  const defaults = Object.entries(method.options).flatMap(([name, option]) =>
    'default' in option && option.default !== undefined ? [[name, option.default] as const] : [],
  )
  const asked = Object.entries(given).filter(([, value]) => value !== undefined)
  const options = { ...Object.fromEntries(defaults), ...Object.fromEntries(asked) }
  method.check?.(options)
  return options
}

function foreignOption(method: Method, name: string): PlanError {
  const own = Object.entries(method.options)
  const owners = all.filter(({ options }) => Object.hasOwn(options, name)).map((other) => other.name)
  const has =
    own.length === 0
      ? 'has no options of its own'
      : `has ${own.map(([option, what]) => flagOf(option, what)).join(', ')}`
  const whose = owners.length === 0 ? '' : `; it is an option of ${owners.join(', ')}`
  const option = all.map(({ options }) => options[name]).find((known) => known !== undefined)
  return new PlanError(`${flagOf(name, option)}: is not an option of ${method.name}, which ${has}${whose}`)
}
