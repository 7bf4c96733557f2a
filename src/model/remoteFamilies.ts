/** What the remote code of one family has to know about the classes of transformers it builds on. */
interface RemoteFamily {
  /** Prefix of the class names: `Llama` in `LlamaDecoderLayer`. */
  readonly prefix: string
  /** transformers' config class refuses a head count that does not divide the hidden size, explicit head_dim or not. */
  readonly headsDivideHidden: boolean
}

/** Families that can be exported with single branches left out, by `model_type`. Checked with transformers 4.57 and 5.23. */
export const remoteFamilies: Readonly<Record<'llama' | 'mistral' | 'qwen2' | 'qwen3', RemoteFamily>> = {
  llama: { prefix: 'Llama', headsDivideHidden: true },
  mistral: { prefix: 'Mistral', headsDivideHidden: false },
  qwen2: { prefix: 'Qwen2', headsDivideHidden: false },
  qwen3: { prefix: 'Qwen3', headsDivideHidden: false },
}

export type RemoteFamilyName = keyof typeof remoteFamilies

/** The family of a `model_type`, or undefined where no remote code is written for it. */
export function remoteFamilyOf(modelType: unknown): RemoteFamilyName | undefined {
  return typeof modelType === 'string' && Object.hasOwn(remoteFamilies, modelType)
    ? (modelType as RemoteFamilyName)
    : undefined
}

/** Name of the file beside config.json that `auto_map` points to, without `.py`. */
export const remoteModule = 'modeling_blockpruner'
