import type { HiddenDistanceOptions } from '../measures/hiddenDistance.ts'
import type { Engine } from '../measures/measurement.ts'
import type { RowObjective, TokenRows } from '../types.ts'
import { rowObjective } from './rowObjective.ts'

/**
 * How far the final hidden states move from the dense model's: the mean over rows of the mean over tokens of 1 - cos(h, h') or of
 * |h - h'|² / D. For encoders without a head, whose hidden states are what is used of them; 0 for the dense model itself.
 */
export function hiddenDistanceObjective(
  engine: Engine,
  rows: TokenRows,
  by: HiddenDistanceOptions['by'] = 'cosine',
): RowObjective {
  return rowObjective(engine, rows, { name: 'hiddenDistance', by })
}
