/** A data set of the papers under a short name. */
export interface KnownDataset {
  readonly repository: string
  readonly config?: string
  readonly splits: readonly string[]
  /** Taken where none is named, because the others do not exist or are out of proportion. */
  readonly defaultSplit?: string
  /** Where the text is, if not in `text`. */
  readonly column?: string
}

/** The texts that papers on pruning calibrate and evaluate on. */
export const knownDatasets: Readonly<Record<string, KnownDataset>> = {
  wikitext2: {
    repository: 'Salesforce/wikitext',
    config: 'wikitext-2-raw-v1',
    splits: ['train', 'validation', 'test'],
  },
  alpaca: { repository: 'tatsu-lab/alpaca', splits: ['train'], defaultSplit: 'train' },
  c4: { repository: 'allenai/c4', config: 'en', splits: ['train', 'validation'], defaultSplit: 'validation' },
  ptb: {
    ...{ repository: 'ptb-text-only/ptb_text_only', config: 'penn_treebank', column: 'sentence' },
    splits: ['train', 'validation', 'test'],
  },
}
