/** The name nearest to what was typed, undefined when none is near: at most a third of its letters wrong, or a part of it. */
export function nearestName(typed: string, names: readonly string[]): string | undefined {
  const plain = (name: string) => name.toLowerCase().replace(/[^a-z0-9]/g, '')
  const asked = plain(typed)
  const ranked = names
    .map((name) => ({
      name,
      edits: editDistance(asked, plain(name)),
      isPart: asked !== '' && plain(name).includes(asked),
    }))
    .toSorted((a, b) => a.edits - b.edits)
  const near = ranked.find(({ name, edits }) => edits <= Math.max(1, Math.floor(plain(name).length / 3)))
  return (near ?? ranked.find(({ isPart }) => isPart))?.name
}

/** Letters to insert, drop, replace, or exchange with the next (Damerau and Levenshtein, no letter touched twice). */
function editDistance(a: string, b: string): number {
  let [before, row] = [[] as number[], Array.from({ length: b.length + 1 }, (_, j) => j)]
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      const isExchange = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      const exchanged = isExchange ? before[j - 2]! + 1 : replaced
      next.push(Math.min(replaced, exchanged, row[j]! + 1, next[j - 1]! + 1))
    }
    ;[before, row] = [row, next]
  }
  return row[b.length]!
}

/** `; did you mean …?`, or nothing where no name is near. */
export function suggestionFor(typed: string, names: readonly string[]): string {
  const near = nearestName(typed, names)
  return near === undefined ? '' : `; did you mean ${near}?`
}
