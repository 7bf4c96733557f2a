import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { describeModel } from '../../src/model/describe.ts'
import { openFolder } from '../../src/model/folder.ts'
import type { Model } from '../../src/model/model.ts'
import type { TokenRows } from '../../src/types.ts'

/** What transformers computed for a fixture, see the script beside it. */
export interface Expected {
  readonly inputs: { readonly input_ids: readonly (readonly number[])[] }
  readonly logits_last: readonly number[]
  readonly logits_sum_abs: number
  readonly loss: number
  readonly unit_rows_logits_last?: readonly number[]
}

export interface Fixture {
  readonly model: Model
  readonly rows: TokenRows
  readonly expected: Expected
}

/** The model in `test/fixtures/<path>` with its inputs and the numbers they must give. */
export async function openFixture(path: string): Promise<Fixture> {
  const folder = fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url))
  const expected = JSON.parse(await readFile(`${folder}/expected.json`, 'utf8')) as Expected
  const ids = expected.inputs.input_ids
  return {
    model: describeModel(path, folder, await openFolder(folder)),
    rows: { ids: Int32Array.from(ids.flat()), rows: ids.length, rowLength: ids[0]!.length },
    expected,
  }
}
