/** Columns of text, numbers to the right: rows of equal length, the first one the heading. */
export function table(rows: readonly (readonly string[])[]): string {
  const columns = rows[0]?.length ?? 0
  const widths = Array.from({ length: columns }, (_, c) => Math.max(...rows.map((row) => row[c]?.length ?? 0)))
  const isNumber = widths.map((_, c) => rows.slice(1).every((row) => /^[-+\d.,%—× ]*$/.test(row[c] ?? '')))
  return rows
    .map((row) =>
      row
        .map((cell, c) => (isNumber[c] ? cell.padStart(widths[c]!) : cell.padEnd(widths[c]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
