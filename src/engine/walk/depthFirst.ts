import type { PrefixCache } from './prefixCache.ts'
import { commonEdits, groupByEdit, type Walk } from './walk.ts'

export interface DepthFirstOptions<State, Edit> {
  /** States of earlier walks over the same input; absent: nothing is remembered. */
  readonly cache?: PrefixCache<State, Edit> | undefined
  /**
   * The plan along which states are remembered; it need not be visited. Absent: what the visited plans have in common, where they
   * are more than two. Named, it lets walks of one or two plans near it share states: each costs what comes after its first
   * difference.
   */
  readonly prefix?: number | undefined
}

/**
 * Visits every plan depth first, from `start`: one group of plans at a time, so besides what is remembered only two states are alive.
 * For weights that stay in memory.
 */
export async function walkDepthFirst<State, Edit>(
  walk: Walk<State, Edit>,
  plans: readonly number[],
  start: State,
  { cache, prefix }: DepthFirstOptions<State, Edit> = {},
): Promise<void> {
  const isKept = cache !== undefined && (prefix !== undefined || plans.length > 2)
  if (isKept) cache.follow(commonEdits(walk, prefix === undefined ? plans : [prefix]))

  /** Goes on with `members` from `owned`, before `stage`; `known`: all that they do so far is what the cache follows. */
  async function visit(members: readonly number[], from: number, owned: State, followed: boolean): Promise<void> {
    let [group, state, known] = [members, owned, followed]
    for (let stage = from; stage < walk.stages; stage++) {
      const branches = [...groupByEdit(walk, group, stage)]
      // the largest group last: the others start from this state, and it alone may go on along what is remembered
      branches.sort(([, a], [, b]) => a.length - b.length)
      const [edit, rest] = branches.pop()!
      for (const [other, plansThere] of branches) {
        const next = await advance(stage, other, state, plansThere, known)
        await visit(plansThere, stage + 1, next, known && cache?.edit(stage) === other)
      }
      const next = await advance(stage, edit, state, rest, known)
      walk.release(state)
      ;[group, state, known] = [rest, next, known && cache?.edit(stage) === edit]
    }
    await walk.arrive(group, state)
    walk.release(state)
  }

  /** The state after `stage`, with an owner more. */
  async function advance(
    stage: number,
    edit: Edit | undefined,
    state: State,
    members: readonly number[],
    known: boolean,
  ): Promise<State> {
    if (edit === undefined) {
      walk.retain(state)
      return state
    }
    const isFollowed = known && cache?.edit(stage) === edit
    const recalled = isFollowed ? cache?.recall(stage) : undefined
    if (recalled !== undefined) {
      walk.retain(recalled)
      return recalled
    }
    const next = await walk.step(stage, edit, state, members)
    if (isFollowed && isKept) cache.keep(stage, next)
    return next
  }

  if (plans.length === 0) return
  walk.retain(start)
  await visit(plans, 0, start, cache !== undefined)
}
