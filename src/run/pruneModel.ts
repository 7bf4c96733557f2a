import { join } from 'node:path'
import { deliver } from './deliver.ts'
import { evaluate } from './evaluate.ts'
import type { PlanFile } from './planFile.ts'
import { type Prepared, prepare } from './prepare.ts'
import type { AnyPruneRequest, PruneModelRequest, PruneModelResult } from './pruneRequest.ts'
import { type ReadyPrompts, type Samples, sample, writeSamples } from './samples.ts'
import { search } from './search.ts'

/** Reads a model and a text, prunes by the method asked for in a run directory, and writes and checks the smaller checkpoint. */
export async function pruneModel(request: PruneModelRequest): Promise<PruneModelResult> {
  // the registry checks names and options again: not every caller has types
  return pruneAny(request as AnyPruneRequest)
}

/** `pruneModel` for names and options that were typed by a person. */
export async function pruneAny(request: AnyPruneRequest): Promise<PruneModelResult> {
  const prepared = await prepare(request)
  try {
    const file = await search(prepared, request)
    const evaluation = await evaluate(prepared, file, request)
    const samples = prepared.prompts && (await sampleAndKeep(prepared, prepared.prompts, file, request))
    const result = { file, planPath: join(request.output, 'plan.json'), evaluation, ...(samples && { samples }) }
    if (request.export === false) return result
    return { ...result, ...(await deliver(prepared, file, evaluation, request)) }
  } finally {
    await prepared.close()
  }
}

/** What both models write, beside plan.json. */
async function sampleAndKeep(
  { model, engine }: Prepared,
  prompts: ReadyPrompts,
  { plan }: PlanFile,
  { output, signal, onProgress }: AnyPruneRequest,
): Promise<Samples> {
  const onToken = (share: number) => onProgress?.({ type: 'sampling', share })
  onToken(0)
  const samples = await sample(model, engine, plan, prompts, { signal, onToken })
  await writeSamples(output, samples)
  return samples
}
