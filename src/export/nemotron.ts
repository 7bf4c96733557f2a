import { join } from 'node:path'
import { PlanError, UnsupportedModelError } from '../errors.ts'
import { writeFileAtomic } from '../format/atomicFile.ts'
import { publishFolder } from '../format/atomicFolder.ts'
import { writeSafetensors } from '../format/safetensors/write.ts'
import type { Model } from '../model/model.ts'
import type { ModelConfig, PruningPlan, StopSignal } from '../types.ts'
import { describeExport } from './huggingface.ts'

export interface NemotronExportOptions {
  /** Bytes of tensor data in one file; default 5·10⁹. */
  readonly maxShardBytes?: number
  /** Replace a folder that has files in it; without it such a folder is refused. */
  readonly replace?: boolean
  readonly signal?: StopSignal
  /** Called after each tensor, with the bytes of tensor data written so far and in all. */
  readonly onProgress?: (writtenBytes: number, totalBytes: number) => void
}

/**
 * Experimental: writes `model` without what `plan` leaves out as NVIDIA's Nemotron-NAS (`DeciLMForCausalLM`), which vLLM,
 * TensorRT-LLM, SGLang and mlx-lm describe layer by layer in `block_configs`. The form was read in their sources; the
 * export has not been run in any of them.
 *
 * It has Llama's mathematics without biases. Throws `UnsupportedModelError` for another family, and `PlanError` for a plan the
 * form cannot say or that vLLM seems to break on: fewer heads (their number is one for all layers), and a first layer
 * without attention.
 */
export async function exportNemotron(
  model: Model,
  plan: PruningPlan,
  directory: string,
  options: NemotronExportOptions = {},
): Promise<void> {
  const { tensors, config } = describeNemotron(model, plan)
  const { maxShardBytes, onProgress, signal } = options
  await publishFolder(
    directory,
    async (folder) => {
      await writeSafetensors(folder, tensors, {
        ...(maxShardBytes === undefined ? {} : { maxShardBytes }),
        ...(onProgress === undefined ? {} : { onProgress }),
        signal,
      })
      for (const [name, read] of model.assets) await writeFileAtomic(join(folder, name), await read())
      await writeFileAtomic(join(folder, `${configModule}.py`), configCode)
      await writeFileAtomic(join(folder, 'config.json'), `${JSON.stringify(config, undefined, 2)}\n`)
    },
    { replace: options.replace ?? false, signal },
  )
}

/** The tensors and the config of an export; reads no weights. Throws as `exportNemotron` does. */
export function describeNemotron(model: Model, plan: PruningPlan) {
  const type = String(model.config['model_type'])
  const hasBias = model.blocks.some(({ weights }) => Object.keys(weights).some((role) => role.endsWith('Bias')))
  const isWindowed = type === 'mistral' && model.config['sliding_window'] != null
  if ((type !== 'llama' && type !== 'mistral') || hasBias || isWindowed) {
    throw new UnsupportedModelError(
      `${model.id}: is of model_type "${type}"${hasBias ? ' with biases' : isWindowed ? ' with a sliding window' : ''}, expected llama without biases for Nemotron-NAS; export to huggingface`,
    )
  }
  const { tensors, layout, pruned, config: written } = describeExport(model, plan)
  const { K, G, E } = model.sizes as { K: number; G: number; E: number }
  const layers = layout.stacks.decoder ?? []
  const narrowed = pruned.blocks.find(({ kind, units }) => kind === 'attention' && units !== K)
  if (narrowed !== undefined) {
    throw new PlanError(
      `plan: ${narrowed.id} has ${narrowed.units} of ${K} key/value heads, expected all, as Nemotron-NAS has one number of heads; keep heads, or export to gguf`,
    )
  }
  if (layers[0]?.attention === undefined) {
    throw new PlanError(
      `plan: the first layer left has no attention, expected one, as vLLM seems to break without; keep an attention before the first mlp, or export to gguf`,
    )
  }
  const units = new Map(pruned.blocks.map((block) => [block.id, block.units]))
  const blockConfigs = layers.map(({ attention, mlp }) => ({
    attention: {
      no_op: attention === undefined,
      replace_with_linear: false,
      n_heads_in_group: attention === undefined ? null : G,
    },
    ffn: {
      no_op: mlp === undefined,
      replace_with_linear: false,
      intermediate_size: mlp === undefined ? null : (units.get(`decoder.${mlp}.mlp`) ?? null),
    },
  }))
  const { auto_map: _, block_layout: __, base_model_type: ___, intermediate_size: ____, ...config } = { ...written }
  const nemotron: ModelConfig = {
    ...config,
    architectures: ['DeciLMForCausalLM'],
    auto_map: { AutoConfig: `${configModule}.DeciLMConfig` },
    model_type: 'nemotron-nas',
    num_hidden_layers: layers.length,
    num_attention_heads: K * G,
    // vLLM reads it of each block, other readers of the config
    num_key_value_heads: K,
    head_dim: E,
    block_configs: blockConfigs,
  }
  return { tensors, config: nemotron }
}

const configModule = 'configuration_blockpruner_decilm'

/** Readers ask for `block.attention.no_op`, which lists of dictionaries do not answer. */
const configCode = `"""The config of a Nemotron-NAS model: Llama's, and what each layer has."""

from types import SimpleNamespace

from transformers.models.llama.configuration_llama import LlamaConfig


class DeciLMConfig(LlamaConfig):
    model_type = "nemotron-nas"

    def __init__(self, block_configs=None, **kwargs):
        super().__init__(**kwargs)
        self.block_configs = [
            SimpleNamespace(attention=SimpleNamespace(**block["attention"]), ffn=SimpleNamespace(**block["ffn"]))
            for block in block_configs or []
        ]

    def to_dict(self):
        described = super().to_dict()
        described["block_configs"] = [
            {"attention": vars(block.attention), "ffn": vars(block.ffn)} for block in self.block_configs
        ]
        return described
`
