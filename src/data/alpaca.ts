/** The question of a row of the Alpaca data set (tatsu-lab/stanford_alpaca). */
export interface AlpacaQuestion {
  readonly instruction: string
  /** Empty where the instruction says everything. */
  readonly input: string
}

/** The prompt of the Alpaca paper's code; with the answer behind it, it is the data set's own `text` column. */
export function alpacaPrompt({ instruction, input }: AlpacaQuestion): string {
  const question =
    input === ''
      ? `Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n${instruction}`
      : `Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\n${instruction}\n\n### Input:\n${input}`
  return `${question}\n\n### Response:\n`
}
