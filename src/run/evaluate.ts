import { compare } from '../evaluate/compare.ts'
import type { PlanFile } from './planFile.ts'
import type { Prepared } from './prepare.ts'
import type { AnyPruneRequest, Evaluated } from './pruneRequest.ts'

/** Dense and pruned model on the evaluation text; undefined where none was asked for. */
export async function evaluate(
  { engine, task, evaluation }: Prepared,
  { plan }: PlanFile,
  { signal }: Pick<AnyPruneRequest, 'signal'>,
): Promise<Evaluated | undefined> {
  if (evaluation === undefined) return undefined
  const { rows, sentences } = evaluation
  return { source: rows.description.source, ...(await compare(engine, rows, task, plan, { sentences, signal })) }
}
