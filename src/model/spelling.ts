/**
 * The other spellings of tensor names that begin with `prefix`: checkpoints of the bare model leave it out, as those on the
 * hub of GPT-2 and Bloom do.
 */
export function withoutPrefix(prefix: string): (name: string) => readonly string[] {
  return (name) => (name.startsWith(prefix) ? [name.slice(prefix.length)] : [])
}
