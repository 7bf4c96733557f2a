import { CalibrationError } from '../errors.ts'
import type { Columns } from './table.ts'

/** The error for a column that is not there, with those that are and the option that names another. */
export function noColumn({ source, names }: Columns, name: string, option: string): CalibrationError {
  return new CalibrationError(
    `${source}: has no column "${name}", its columns are ${names.join(', ')}; name one of them with ${option}`,
  )
}

/** A text; an absent value (null) is an empty one. Undefined for a value of another type. */
export function stringOf(value: unknown): string | undefined {
  if (value === null || value === undefined) return ''
  return typeof value === 'string' ? value : undefined
}
