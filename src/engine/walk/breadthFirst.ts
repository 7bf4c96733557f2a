import { groupByEdit, type Walk } from './walk.ts'

/** What a walk in this order can say besides: which stage is next, and that a state waits for its end. */
export interface BreadthFirstWalk<State, Edit> extends Walk<State, Edit> {
  /** Before anything happens at `stage`; `next` is the stage that follows, if any. */
  enter?(stage: number, next: number | undefined): void
  /** After all that happens at `stage`. */
  leave?(stage: number): Promise<void>
  /** Puts a final state aside, which it owns now; the result brings it back, with an owner. */
  park?(state: State): Promise<() => Promise<State>>
}

/**
 * Visits every plan breadth first: at each stage all groups of plans that are different models so far advance together, so whatever a
 * stage needs is needed once. As many states are alive as there are groups. For weights that do not stay in memory.
 */
export async function walkBreadthFirst<State, Edit>(
  walk: BreadthFirstWalk<State, Edit>,
  plans: readonly number[],
  start: State,
): Promise<void> {
  if (plans.length === 0) return
  walk.retain(start)
  let groups: { readonly plans: readonly number[]; readonly state: State }[] = [{ plans, state: start }]
  const needed = Array.from({ length: walk.stages }, (_, stage) => stage).filter((stage) =>
    plans.some((plan) => walk.edit(plan, stage) !== undefined),
  )
  for (const [i, stage] of needed.entries()) {
    walk.enter?.(stage, needed[i + 1])
    const next: typeof groups = []
    for (const { plans: members, state } of groups) {
      for (const [edit, agreeing] of groupByEdit(walk, members, stage)) {
        if (edit === undefined) walk.retain(state)
        next.push({
          plans: agreeing,
          state: edit === undefined ? state : await walk.step(stage, edit, state, agreeing),
        })
      }
      walk.release(state)
    }
    await walk.leave?.(stage)
    groups = next
  }
  const ends: { readonly plans: readonly number[]; readonly bring: () => Promise<State> }[] = []
  // one after the other, so that nothing here holds a state that was put aside
  for (let group = groups.shift(); group !== undefined; group = groups.shift()) {
    const { plans: members, state } = group
    ends.push({ plans: members, bring: walk.park === undefined ? async () => state : await walk.park(state) })
  }
  for (const { plans: members, bring } of ends) {
    const state = await bring()
    await walk.arrive(members, state)
    walk.release(state)
  }
}
