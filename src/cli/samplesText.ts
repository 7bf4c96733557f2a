import type { Samples } from '../run/samples.ts'

/** What both models write behind each prompt, one line each. */
export function samplesText({ chat, tokens, samples }: Samples): string {
  const how = chat ? 'answers by the chat template' : 'continuations'
  return [
    `sample ${how}, always the likeliest token, ${tokens} at most:`,
    ...samples.flatMap(({ prompt, dense, pruned }) => [
      `  ${prompt}`,
      `    dense   ${oneLine(dense)}`,
      `    pruned  ${oneLine(pruned)}`,
    ]),
  ].join('\n')
}

/** Line ends and what a terminal would obey are written out. */
function oneLine(text: string): string {
  const spelled = JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"')
  return spelled === '' ? '(nothing)' : `…${spelled.replace(/[\u007f-\u009f\u2028-\u202e]/g, '\ufffd')}`
}
