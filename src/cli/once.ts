import type { Command } from 'commander'

/** Makes an option that is given twice an error, of which commander would take the last value without a word. */
export function refuseRepeats(command: Command): void {
  for (const option of command.options) {
    if (option.variadic) continue
    let given = false
    command.on(`option:${option.name()}`, () => {
      if (given) command.error(`error: option '${option.long ?? option.flags}' is given twice; give it once`)
      given = true
    })
  }
}
