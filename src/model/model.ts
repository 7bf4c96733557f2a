import type { Block, BlockId, ModelConfig, PruningPlan, WeightStore, WeightTable } from '../types.ts'
import type { Architecture, BlockTable, Sizes } from './architecture.ts'

/** A block and what its family says of blocks of its kind: names, forms, units. */
export interface DescribedBlock extends Block {
  readonly table: BlockTable
}

/** A loaded model: its description and lazy access to its weights. */
export interface Model {
  /** What the user named: a hub id, a folder or a file. */
  readonly id: string
  /** config.json, each setting under the family's own name. */
  readonly config: ModelConfig
  readonly architecture: Architecture
  /** Of the letters outside the blocks; what a block's letters mean is said by `blockSizes`. */
  readonly sizes: Sizes
  /**
   * Heads of the dense model that the attentions of the checkpoint have, where those are not all. Channels need no such list:
   * nothing depends on which of them one was.
   */
  readonly heads: Readonly<Partial<Record<BlockId, readonly number[]>>>
  /** Forward order. */
  readonly blocks: readonly DescribedBlock[]
  /** The norms that removed post-norm branches left in the stream, as blocks of that norm alone. */
  readonly bareNorms: readonly DescribedBlock[]
  /** Weights outside the blocks. */
  readonly outer: WeightTable
  readonly weights: WeightStore
  /** Parameters of the whole model; a tied head counts once. */
  readonly parameters: number
  /** Files carried along to an export: tokenizer.json, tokenizer_config.json, generation_config.json … */
  readonly assets: ReadonlyMap<string, () => Promise<Uint8Array>>
  /** Where it was read from; with `applied`, enough to open it again in another thread. */
  readonly path: string
  /** Plans already applied to what `path` holds, first to last. */
  readonly applied: readonly PruningPlan[]
}
