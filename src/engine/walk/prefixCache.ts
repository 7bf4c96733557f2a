/** The states after each stage of one model, for walks of plans that begin as it does. */
export interface PrefixCache<State, Edit> {
  /** What the remembered model does to `stage`. */
  edit(stage: number): Edit | undefined
  /** The state after `stage`, where it is known. */
  recall(stage: number): State | undefined
  keep(stage: number, state: State): void
  /** Remember along these edits from now on: what follows the first difference is let go. */
  follow(edits: readonly (Edit | undefined)[]): void
  clear(): void
}

/** A cache that owns the states it keeps. */
export function prefixCache<State, Edit>(owner: {
  retain(state: State): void
  release(state: State): void
}): PrefixCache<State, Edit> {
  let edits: readonly (Edit | undefined)[] = []
  const states: (State | undefined)[] = []
  const cut = (from: number) => {
    for (const state of states.splice(from)) if (state !== undefined) owner.release(state)
  }
  return {
    edit: (stage) => edits[stage],
    recall: (stage) => states[stage],
    keep(stage, state) {
      owner.retain(state)
      const before = states[stage]
      if (before !== undefined) owner.release(before)
      states[stage] = state
    },
    follow(next) {
      const first = next.findIndex((edit, stage) => stage >= edits.length || edit !== edits[stage])
      cut(first < 0 ? next.length : first)
      edits = next
    },
    clear() {
      cut(0)
      edits = []
    },
  }
}
