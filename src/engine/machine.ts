import { type Device, readFloats } from '../device/device.ts'
import { CalibrationError, EngineError, UnsupportedModelError } from '../errors.ts'
import type { AttentionKernel } from '../graph/attention.ts'
import { programOf, type Stage } from '../graph/program.ts'
import type { Machine } from '../measures/machine.ts'
import { findRole } from '../model/axes.ts'
import type { Model } from '../model/model.ts'
import { outputRoles } from '../model/outputBias.ts'
import type { StackName, TokenRows } from '../types.ts'
import { type MemoryPlan, planMemory } from './memory.ts'
import { runnerOn } from './runner.ts'
import { walkerOn } from './walker.ts'

export interface MachineOptions {
  readonly device: Device
  readonly kernel?: Exclude<AttentionKernel, 'cached' | 'cachedPrimitives'> | undefined
  /** How memory is shared; default: everything in memory. */
  readonly memory?: MemoryPlan | undefined
  /** The folder where states are put aside when they do not fit. */
  readonly spillFolder?: string | undefined
}

/** A machine for `model`: its graphs, weights and states on a device. */
export function openMachine(
  model: Model,
  { device, kernel = device.kernel, memory = planMemory(model, Number.POSITIVE_INFINITY), spillFolder }: MachineOptions,
): Machine {
  const program = programOf(model, kernel)
  const unpadded = kernel === 'fused' && program.readsPadding ? programOf(model, 'unpadded') : program
  const runner = runnerOn(model, device, memory.weights)
  const walker = walkerOn(model, device, { program, unpadded, runner, memory, spillFolder })
  const notes = new Map<string, { readonly key: readonly unknown[]; readonly made: Promise<unknown> }>()
  return {
    model,
    program,
    width: model.sizes['D']!,
    vocabulary: model.sizes['classifier' in model.outer ? 'C' : 'V']!,
    async walk(walking, observer) {
      checkRows(model, program.stages, walking.rows)
      await walker.walk(walking, observer)
    },
    head(kind) {
      if (program.heads !== undefined) return program.heads[kind]
      throw new UnsupportedModelError(
        `${model.id}: has no head that predicts anything, expected one for a loss; score it by the distance of its hidden states`,
      )
    },
    runHead(kind, positions, given) {
      const { graph, weights } = this.head(kind)
      return runner.head(graph, weights, positions, given)
    },
    read: (handle) => readFloats(device, handle),
    async outputMatrix(block) {
      const { matrix } = outputRoles[block.kind]
      const inputFirst = !findRole(block.weights, matrix)!.axes.trimStart().startsWith('D')
      return { values: await runner.weights.values(block.weights, matrix), inputFirst }
    },
    remember<T>(name: string, key: readonly unknown[], make: () => Promise<T>): Promise<T> {
      const known = notes.get(name)
      if (known?.key.length === key.length && known.key.every((part, i) => part === key[i])) {
        return known.made as Promise<T>
      }
      const made = make()
      notes.set(name, { key, made })
      // what failed is made again
      made.catch(() => notes.delete(name))
      return made
    },
    close: () => walker.close(),
  }
}

/** Throws for rows that the model cannot read. */
function checkRows(model: Model, stages: readonly Stage[], rows: TokenRows): void {
  if (rows.rows === 0) throw new EngineError('no rows to evaluate; expected at least one')
  if (rows.decoder === undefined && stages.some(({ ids }) => ids === 'decoderIds')) {
    throw new EngineError(
      `${model.id}: the rows have no tokens for the decoder, expected source and target of each row`,
    )
  }
  for (const stack of Object.keys(model.architecture.stacks) as StackName[]) {
    const { positions } = model.architecture.embedding(model.config, stack)
    const { rowLength } = stack === 'decoder' ? (rows.decoder ?? rows) : rows
    if (positions === undefined || rowLength + positions.offset <= positions.count) continue
    const learned = positions.count - positions.offset
    throw new CalibrationError(
      `rows of ${rowLength} tokens, but the model has learned ${learned} positions; use shorter rows`,
    )
  }
}
