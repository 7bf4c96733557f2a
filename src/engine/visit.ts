/**
 * How many plans are evaluated at once: walk the stages in forward order with all plans; where they part, each group goes
 * on from the state they share. Plans that agree so far share the work, so one greedy step over N candidates costs N
 * suffixes, not N models. Depth first: one group at a time, so besides the trunk only two states are alive.
 */
export interface Walk<State> {
  readonly stages: number
  /** How `plan` computes `stage`: equal text, equal computation; undefined when the plan leaves the stage out. */
  variant(plan: number, stage: number): string | undefined
  step(stage: number, variant: string, state: State): Promise<State>
  /** The end of the walk for plans that are the same model. */
  arrive(plans: readonly number[], state: State): Promise<void>
  /** States remembered from earlier walks over the same input; absent: nothing is remembered. */
  readonly trunk?: Trunk<State>
  /**
   * The plan along which states are remembered; it need not be visited. Absent: what the visited plans have in common. Named, it lets
   * walks of one or two plans near it share states: each costs what comes after its first difference.
   */
  readonly along?: number | undefined
}

/** Visits every plan depth first, from `state` at `stage`. */
export async function visitDepthFirst<State>(walk: Walk<State>, plans: readonly number[], start: State): Promise<void> {
  const { along } = walk
  const common = walk.trunk && commonPath(walk, along === undefined ? plans : [along])
  async function visit(members: readonly number[], from: number, path: string, initial: State): Promise<void> {
    let [group, state, done] = [members, initial, path]
    for (let stage = from; stage < walk.stages; stage++) {
      const branches = [...groupByVariant(walk, group, stage)]
      // the largest group last: the others start from this state, and it alone may go on from the trunk
      branches.sort(([, a], [, b]) => a.length - b.length)
      const last = branches.pop()!
      for (const [variant, plansThere] of branches) {
        const next = await advance(stage, variant, done, state, plansThere)
        await visit(plansThere, stage + 1, extendPath(done, variant), next)
      }
      const [variant, rest] = last
      state = await advance(stage, variant, done, state, rest)
      done = extendPath(done, variant)
      group = rest
    }
    await walk.arrive(group, state)
  }
  async function advance(
    stage: number,
    variant: string | undefined,
    path: string,
    state: State,
    members: readonly number[],
  ) {
    if (variant === undefined) return state
    const after = extendPath(path, variant)
    const known = walk.trunk?.recall(stage, after)
    if (known !== undefined) return known
    const next = await walk.step(stage, variant, state)
    const isShared = along === undefined && members.length === plans.length
    if (isShared || common?.[stage] === after) walk.trunk?.keep(stage, after, next)
    return next
  }
  if (plans.length > 0) await visit(plans, 0, '', start)
}

/** States after each stage of the most recent trunk: what all plans of a walk have in common. */
export interface Trunk<State> {
  recall(stage: number, path: string): State | undefined
  keep(stage: number, path: string, state: State): void
  clear(): void
}

/** A trunk that remembers at most one state for each stage. */
export function createTrunk<State>(): Trunk<State> {
  const states = new Map<number, { path: string; state: State }>()
  return {
    recall(stage, path) {
      const entry = states.get(stage)
      return entry?.path === path ? entry.state : undefined
    },
    keep: (stage, path, state) => void states.set(stage, { path, state }),
    clear: () => states.clear(),
  }
}

function extendPath(path: string, variant: string | undefined): string {
  return `${path}/${variant ?? '-'}`
}

function groupByVariant<State>(walk: Walk<State>, plans: readonly number[], stage: number) {
  const groups = new Map<string | undefined, number[]>()
  for (const plan of plans) {
    const variant = walk.variant(plan, stage)
    const group = groups.get(variant)
    if (group === undefined) groups.set(variant, [plan])
    else group.push(plan)
  }
  return groups
}

/** The path after each stage of the plan that keeps whatever any plan keeps: where candidates branch off. */
function commonPath<State>(walk: Walk<State>, plans: readonly number[]): string[] {
  const paths: string[] = []
  let path = ''
  for (let stage = 0; stage < walk.stages; stage++) {
    const variants = [...groupByVariant(walk, plans, stage)].sort(([, a], [, b]) => b.length - a.length)
    const kept = variants.find(([variant]) => variant !== undefined)
    path = extendPath(path, kept?.[0])
    paths.push(path)
  }
  return paths
}
