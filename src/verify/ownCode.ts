import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { OutputError } from '../errors.ts'
import { describeExport } from '../export/huggingface.ts'
import { decilmCode, decilmModule } from '../export/nemotron.ts'
import { remoteModule } from '../model/customConfig.ts'
import type { Model } from '../model/model.ts'
import type { PruningPlan } from '../types.ts'

/**
 * Throws `OutputError` where opening a folder, whose files are `names`, would run Python code that this version would not have
 * written there: consumers are told to trust it.
 */
export async function checkOwnCode(
  path: string,
  names: readonly string[],
  format: 'huggingface' | 'nemotron',
  model: Model,
  plan: PruningPlan,
): Promise<void> {
  const [module, code] =
    format === 'nemotron' ? [decilmModule, decilmCode] : [remoteModule, describeExport(model, plan).remote]
  const foreign = (what: string): OutputError =>
    new OutputError(
      `${path}: ${what}, expected only code that this version writes for the plan, as opening the folder would run it; export it anew`,
    )
  for (const name of names.filter((entry) => entry.endsWith('.py'))) {
    if (name !== `${module}.py` || (await readFile(join(path, name), 'utf8')) !== code) {
      throw foreign(`${name} is of another origin`)
    }
  }
  const { auto_map: classes = {} } = JSON.parse(await readFile(join(path, 'config.json'), 'utf8')) as {
    readonly auto_map?: Readonly<Record<string, unknown>>
  }
  // "owner/name--module.Class" is code of the hub
  const other = Object.values(classes).find((name) => !String(name).startsWith(`${module}.`))
  if (other !== undefined) throw foreign(`config.json names the code ${JSON.stringify(other)}`)
}
