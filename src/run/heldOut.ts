import type { PackedRows } from '../data/calibration.ts'
import { sharedPassage } from '../data/overlap.ts'
import type { PlanFile } from './planFile.ts'

/** Whether `rows` share no passage with a plan's calibration text; undefined where that was too short or repetitive to tell. */
export function isHeldOut({ calibration }: PlanFile, rows: PackedRows): boolean | undefined {
  if (calibration.fingerprints.length === 0) return undefined
  return sharedPassage(calibration.fingerprints, rows, rows.description.bos === 'every-row') === undefined
}
