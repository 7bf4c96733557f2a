import type { Measure } from './machine.ts'

/** The first stage with an output that is not finite: a block's id or `decoder.embedding`; undefined when all are. */
export const firstNonFinite: Measure<unknown, string | undefined> = {
  async measure(machine, { rows, plans, signal }) {
    const found = plans.map((): string | undefined => undefined)
    await machine.walk(
      { rows, plans, signal, fewStates: true },
      {
        async after({ stage, plans: walking, state }) {
          const unseen = walking.filter((plan) => found[plan] === undefined)
          if (unseen.length === 0) return
          const written = await Promise.all(state.map((tensors) => machine.read(tensors[stage.writes]!)))
          if (written.every((values) => values.every(Number.isFinite))) return
          for (const plan of unseen) found[plan] = stage.name
        },
      },
    )
    return found
  },
}
