// What the benchmarks of all families share: their names, and rows that each kind of model can read and predict.
export const decoders = 'llama mistral qwen2 qwen3 gemma gemma2 gemma3 phi phi3 gpt2 gpt_neox opt bloom falcon'.split(
  ' ',
)
export const encoders = ['bert', 'roberta', 'distilbert']
export const encoderDecoders = ['t5', 'flan-t5', 'bart', 'marian']
export const families = [...decoders, ...encoders, ...encoderDecoders]

/** Seeded ids without special tokens. */
export function idsOf(vocabulary, count, seed) {
  let state = seed
  return Int32Array.from({ length: count }, () => {
    state = (state * 1103515245 + 12345) % 2147483648
    return 10 + (state % (vocabulary - 10))
  })
}

/** An encoder predicts every position; a decoder behind one is a quarter as long. `family`: decoder, encoder or encoderDecoder. */
export function rowsOf(family, vocabulary, rows, rowLength) {
  const ids = idsOf(vocabulary, rows * rowLength, 1)
  if (family === 'decoder') return { ids, rows, rowLength }
  if (family === 'encoder') return { ids, rows, rowLength, targets: idsOf(vocabulary, rows * rowLength, 2) }
  const short = rowLength / 4
  const [read, targets] = [idsOf(vocabulary, rows * short, 2), idsOf(vocabulary, rows * short, 3)]
  return { ids, rows, rowLength, decoder: { ids: read, rows, rowLength: short, targets } }
}
