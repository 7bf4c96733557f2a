/** 26 July 2024, a Friday: what Llama 3.1's template falls back to where no date is given. */
const parts: Readonly<Record<string, string>> = {
  Y: '2024',
  y: '24',
  m: '07',
  d: '26',
  j: '208',
  B: 'July',
  b: 'Jul',
  A: 'Friday',
  a: 'Fri',
  H: '00',
  I: '12',
  M: '00',
  S: '00',
  p: 'AM',
  '%': '%',
}

/**
 * `strftime_now` of chat templates with the date fixed, so that the same conversations are the same tokens tomorrow. Throws `Error`
 * for a directive that it does not know.
 */
export function fixedDate(format: string): string {
  return format.replace(/%-?(.)/g, (directive, letter: string) => {
    const part = Object.hasOwn(parts, letter) ? parts[letter]! : undefined
    if (part === undefined) throw new Error(`strftime_now: unknown directive ${directive}`)
    return directive.startsWith('%-') ? part.replace(/^0(?=\d)/, '') : part
  })
}
