import type { Command } from 'commander'

/** Options whose second value somebody may expect to be taken as well; of others the last one counts, as everywhere. */
const named = ['model', 'plan', 'dataset', 'eval-dataset', 'tokens', 'column', 'output', 'format', 'method', 'search']

/** Makes an option that names something an error where it is given twice: commander would take the last without a word. */
export function refuseRepeats(command: Command): void {
  for (const option of command.options.filter((candidate) => named.includes(candidate.name()))) {
    let given = false
    command.on(`option:${option.name()}`, () => {
      if (given) command.error(`error: option '--${option.name()}' is given twice; give it once`)
      given = true
    })
  }
}
