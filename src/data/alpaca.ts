/** One row of the Alpaca data set (tatsu-lab/stanford_alpaca). */
export interface AlpacaRow {
  readonly instruction: string
  readonly input: string
  readonly output: string
}

export const alpacaColumns = ['instruction', 'input', 'output'] as const

/** The row as the data set's own `text` column has it: the prompt of the Alpaca paper's code, then the answer. */
export function alpacaText({ instruction, input, output }: AlpacaRow): string {
  const prompt =
    input === ''
      ? `Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n${instruction}`
      : `Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\n${instruction}\n\n### Input:\n${input}`
  return `${prompt}\n\n### Response:\n${output}`
}
