import { cpuDevice } from '../device/cpu.ts'
import type { Device } from '../device/device.ts'
import { EngineError } from '../errors.ts'
import type { HeadKind } from '../graph/program.ts'
import { programOf } from '../graph/program.ts'
import type { Machine } from '../measures/machine.ts'
import { applyPlan } from '../model/applyPlan.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan } from '../model/plan.ts'
import type { StackName, TokenRows } from '../types.ts'
import { openMachine } from './machine.ts'

/** What a part of a model differs by from the CPU's, root of the mean square relative to that of what the part adds. */
export interface PartError {
  readonly part: string
  readonly error: number
}

/** A device is refused beyond: two orders of sums differ by 1e-6, a wrong kernel by 0.1 and more. */
export const mostError = 1e-3

/** Seconds of a pass through the parts, the second one: the first makes sessions and reads weights. */
export interface SelfTest {
  readonly errors: readonly PartError[]
  readonly seconds: { readonly cpu: number; readonly device: number }
}

/**
 * Runs one block of each form of `model`, what stands around the blocks and the head, on `device` and on the CPU, over two rows of more
 * tokens than fused kernels take in one piece. Throws `EngineError` with the figures where a part differs by more than `mostError`.
 */
export async function selfTest(model: Model, device: Device, threads?: number): Promise<SelfTest> {
  const sample = oneOfEach(model)
  const rows = sampleRows(sample)
  const cpu = cpuDevice({ threads })
  try {
    const [here, there] = [openMachine(sample, { device: cpu }), openMachine(sample, { device })]
    const expected = await partsOf(here, rows)
    const found = await partsOf(there, rows)
    const errors = expected.parts.map(({ part, before, values }, i) => ({
      part,
      error: differenceOf(values, found.parts[i]!.values, before),
    }))
    const heads = await headErrors(here, there, expected.parts.at(-1)!.values)
    const all = [...errors, ...heads]
    refuse(model, device, all)
    const seconds = { cpu: (await partsOf(here, rows)).seconds, device: (await partsOf(there, rows)).seconds }
    await Promise.all([here.close(), there.close()])
    return { errors: all, seconds }
  } finally {
    await cpu.close()
  }
}

function refuse({ id }: Model, { name }: Device, errors: readonly PartError[]): void {
  // a difference that is no number is refused too
  if (errors.every(({ error }) => error <= mostError)) return
  const figures = errors.map(({ part, error }) => `${part} ${error.toExponential(1)}`).join(', ')
  throw new EngineError(
    `--device ${name}: does not compute ${id} as the CPU does; relative differences: ${figures}; expected at most ${mostError}; ` +
      'update the driver of the device, or take --device cpu',
  )
}

/** The model with the first block of each form alone. */
function oneOfEach(model: Model): Model {
  const seen = new Set<unknown>()
  const others = programOf(model, 'primitives').stages.flatMap(({ block, graph }) => {
    if (block === undefined || block.units === 0) return []
    const form = graph(block.units)
    if (seen.has(form)) return [block.id]
    seen.add(form)
    return []
  })
  return applyPlan(model, { ...emptyPlan, blocks: others })
}

const sampleTokens = 48

/** Two rows; of a model that reads padding the second is shorter. */
function sampleRows(model: Model): TokenRows {
  const { architecture, config, sizes } = model
  const most = (Object.keys(architecture.stacks) as StackName[]).reduce((least, stack) => {
    const { positions } = architecture.embedding(config, stack)
    return positions === undefined ? least : Math.min(least, positions.count - positions.offset)
  }, sampleTokens)
  const idsFrom = (first: number) =>
    // a stride without a factor in common with most vocabularies
    Int32Array.from({ length: 2 * most }, (_, i) => (first + 7919 * i) % sizes['V']!)
  const rows = { ids: idsFrom(5), rows: 2, rowLength: most }
  if (architecture.family === 'decoder') return rows
  const padded = { ...rows, lengths: Int32Array.of(most, Math.ceil(most / 2)) }
  return architecture.family === 'encoder'
    ? padded
    : { ...padded, decoder: { ids: idsFrom(11), rows: 2, rowLength: most } }
}

interface Part {
  readonly part: string
  /** What the part read under the name that it writes to; absent for what begins it. */
  readonly before: Float32Array | undefined
  readonly values: Float32Array
}

/** The state after every stage, and the seconds of the walk. */
async function partsOf(machine: Machine, rows: TokenRows): Promise<{ parts: Part[]; seconds: number }> {
  const parts: Part[] = []
  const states = new Map<string, Float32Array>()
  const begun = performance.now()
  await machine.walk(
    { rows, plans: [emptyPlan], fewStates: true },
    {
      async after({ stage, state }) {
        const values = (await machine.read(state[0]![stage.writes]!)).slice()
        parts.push({ part: stage.name, before: states.get(stage.writes), values })
        states.set(stage.writes, values)
      },
    },
  )
  return { parts, seconds: (performance.now() - begun) / 1000 }
}

/** Of the heads that losses and checks read, on the final states of a few positions. */
async function headErrors(here: Machine, there: Machine, states: Float32Array): Promise<PartError[]> {
  if (here.program.heads === undefined) return []
  const { width } = here
  const positions = Math.min(8, states.length / width)
  const hidden = { type: 'float32', values: states.slice(0, positions * width), dims: [positions, width] } as const
  const targets = {
    type: 'int64',
    values: BigInt64Array.from({ length: positions }, (_, i) => BigInt(i % here.vocabulary)),
    dims: [positions],
  } as const
  const errors: PartError[] = []
  for (const kind of ['logits', 'tokenLoss'] satisfies HeadKind[]) {
    const given = kind === 'logits' ? { hidden } : { hidden, targets }
    const [expected, found] = [await here.runHead(kind, positions, given), await there.runHead(kind, positions, given)]
    errors.push({ part: kind, error: differenceOf(expected, found) })
  }
  return errors
}

/** |found - expected| / |expected - before|, in the Euclidean norm. */
function differenceOf(expected: Float32Array, found: Float32Array, before?: Float32Array): number {
  if (found.length !== expected.length) return Number.POSITIVE_INFINITY
  let [difference, size] = [0, 0]
  for (const [i, value] of expected.entries()) {
    difference += (found[i]! - value) ** 2
    size += (value - (before?.[i] ?? 0)) ** 2
  }
  return difference === 0 ? 0 : Math.sqrt(difference / size)
}
