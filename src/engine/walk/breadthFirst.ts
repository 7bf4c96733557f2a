import { groupByEdit, type Walk } from './walk.ts'

/**
 * Visits every plan breadth first: at each stage all groups of plans that are different models so far advance together, so whatever a
 * stage needs is needed once. As many states are alive as there are groups. For weights that do not stay in memory.
 */
export async function walkBreadthFirst<State, Edit>(
  walk: Walk<State, Edit>,
  plans: readonly number[],
  start: State,
): Promise<void> {
  if (plans.length === 0) return
  walk.retain(start)
  let groups: { readonly plans: readonly number[]; readonly state: State }[] = [{ plans, state: start }]
  for (let stage = 0; stage < walk.stages; stage++) {
    const next: typeof groups = []
    const branches = groups.map((group) => ({ ...group, edits: [...groupByEdit(walk, group.plans, stage)] }))
    const isNeeded = branches.some(({ edits }) => edits.some(([edit]) => edit !== undefined))
    if (isNeeded) await walk.enter?.(stage)
    for (const { state, edits } of branches) {
      for (const [edit, members] of edits) {
        if (edit === undefined) walk.retain(state)
        next.push({ plans: members, state: edit === undefined ? state : await walk.step(stage, edit, state, members) })
      }
      walk.release(state)
    }
    if (isNeeded) walk.leave?.(stage)
    groups = next
  }
  for (const { plans: members, state } of groups) {
    await walk.arrive(members, state)
    walk.release(state)
  }
}
