/**
 * How many plans go through a model at once. At each stage the plans part by what they do to it; those that agree so far share the
 * state, so one greedy step over N candidates costs N suffixes, not N models. Two orders of the same arithmetic, `depthFirst.ts`
 * and `breadthFirst.ts`, walk the same `Walk`. A walk knows states and edits as opaque things.
 */
export interface Walk<State, Edit> {
  readonly stages: number
  /** What `plan` does to `stage`: the same object, the same computation; undefined where the plan leaves the stage out. */
  edit(plan: number, stage: number): Edit | undefined
  /** The state after a stage, which the walk owns; `state` stays as it is. */
  step(stage: number, edit: Edit, state: State, plans: readonly number[]): Promise<State>
  /** The end of the walk for plans that are the same model. */
  arrive(plans: readonly number[], state: State): Promise<void>
  /** One owner more of a state, and one less. */
  retain(state: State): void
  release(state: State): void
}

/** The plans of a group by what they do to a stage, in order of first appearance. */
export function groupByEdit<State, Edit>(
  walk: Pick<Walk<State, Edit>, 'edit'>,
  plans: readonly number[],
  stage: number,
): Map<Edit | undefined, number[]> {
  const groups = new Map<Edit | undefined, number[]>()
  for (const plan of plans) {
    const edit = walk.edit(plan, stage)
    const group = groups.get(edit)
    if (group === undefined) groups.set(edit, [plan])
    else group.push(plan)
  }
  return groups
}

/** What the model does that keeps whatever any of the plans keeps: where candidates branch off. */
export function commonEdits<State, Edit>(
  walk: Pick<Walk<State, Edit>, 'edit' | 'stages'>,
  plans: readonly number[],
): (Edit | undefined)[] {
  return Array.from({ length: walk.stages }, (_, stage) => {
    const edits = [...groupByEdit(walk, plans, stage)].sort(([, a], [, b]) => b.length - a.length)
    return edits.find(([edit]) => edit !== undefined)?.[0]
  })
}
