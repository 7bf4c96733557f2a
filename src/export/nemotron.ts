import { basename, join } from 'node:path'
import { PlanError, UnsupportedModelError } from '../errors.ts'
import { writeFileAtomic } from '../format/atomicFile.ts'
import { publishFolder } from '../format/atomicFolder.ts'
import { writeSafetensors } from '../format/safetensors/write.ts'
import { objectOf } from '../model/configValue.ts'
import type { Model } from '../model/model.ts'
import { outputBiasesOf } from '../model/outputBias.ts'
import type { ModelConfig, PruningPlan, StopSignal } from '../types.ts'
import { writeAssets } from './assets.ts'
import { exportRecord, withRecord } from './exportRecord.ts'
import { describeExport } from './huggingface.ts'

export interface NemotronExportOptions {
  /** Bytes of tensor data in one file; default 5·10⁹. */
  readonly maxShardBytes?: number | undefined
  /** Replace a folder that has files in it; without it such a folder is refused. */
  readonly replace?: boolean | undefined
  readonly signal?: StopSignal | undefined
  /** Called after each tensor, with the bytes of tensor data written so far and in all. */
  readonly onProgress?: ((writtenBytes: number, totalBytes: number) => void) | undefined
}

/**
 * Writes `model` without what `plan` leaves out as NVIDIA's Nemotron-NAS (`DeciLMForCausalLM`), which vLLM, TensorRT-LLM,
 * SGLang and mlx-lm describe layer by layer in `block_configs`. vLLM and mlx-lm were seen to compute what the plan does
 * (`verifyExport` asks them); for the other two the form was read in their sources.
 *
 * It has Llama's mathematics without biases. Throws `UnsupportedModelError` for another family, and `PlanError` for a plan the
 * form cannot say or that vLLM and SGLang break on: fewer heads (their number is one for all layers), biases of outputs, and a
 * first layer without attention, whose mlp they would add to a residual that is not there yet.
 *
 * Sources: vllm-project/vllm, vllm/model_executor/models/nemotron_nas.py; NVIDIA/TensorRT-LLM,
 * tensorrt_llm/_torch/models/modeling_nemotron_nas.py; sgl-project/sglang, python/sglang/srt/models/nemotron_nas.py;
 * ml-explore/mlx-lm, mlx_lm/models/nemotron-nas.py; NVIDIA's configuration_decilm.py.
 */
export async function exportNemotron(
  model: Model,
  plan: PruningPlan,
  directory: string,
  options: NemotronExportOptions = {},
): Promise<void> {
  const { tensors, config, widths } = describeNemotron(model, plan)
  const { maxShardBytes, onProgress, signal } = options
  const recorded = withRecord(config, await exportRecord(model, plan))
  await publishFolder(
    directory,
    async (folder) => {
      await writeSafetensors(folder, tensors, {
        ...(maxShardBytes === undefined ? {} : { maxShardBytes }),
        ...(onProgress === undefined ? {} : { onProgress }),
        signal,
      })
      await writeAssets(model, folder)
      await writeFileAtomic(join(folder, `${decilmModule}.py`), decilmCode)
      await writeFileAtomic(join(folder, 'README.md'), card(model, widths))
      await writeFileAtomic(join(folder, 'config.json'), `${JSON.stringify(recorded, undefined, 2)}\n`)
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
  const [biased] = outputBiasesOf(plan)
  if (biased !== undefined) {
    throw new PlanError(
      `plan: adds a bias to ${biased[0]}, expected none, as vLLM leaves out what Nemotron-NAS does not have; prune without the compensation, or export to gguf`,
    )
  }
  const { tensors, layout, pruned, config: written } = describeExport(model, plan)
  const { D, K, G, E } = model.sizes as { D: number; K: number; G: number; E: number }
  const layers = layout.stacks.decoder ?? []
  const narrowed = pruned.blocks.find(({ kind, units }) => kind === 'attention' && units !== K)
  if (narrowed !== undefined) {
    throw new PlanError(
      `plan: ${narrowed.id} has ${narrowed.units} of ${K} key/value heads, expected all, as Nemotron-NAS has one number of heads; keep heads, or export to gguf`,
    )
  }
  if (layers[0]?.attention === undefined) {
    throw new PlanError(
      `plan: the first layer left has no attention, expected one, as vLLM and SGLang compute no first layer without; keep an attention before the first mlp, or export to gguf`,
    )
  }
  const units = new Map(pruned.blocks.map((block) => [block.id, block.units]))
  const channels = layers.map(({ mlp }) => (mlp === undefined ? undefined : units.get(`decoder.${mlp}.mlp`)!))
  const widths: Widths = channels.every((width = 0) => width % roundedTo === 0) ? 'multiples' : 'any'
  const blockConfigs = layers.map(({ attention }, layer) => ({
    attention: {
      no_op: attention === undefined,
      replace_with_linear: false,
      n_heads_in_group: attention === undefined ? null : G,
    },
    ffn: {
      no_op: channels[layer] === undefined,
      replace_with_linear: false,
      // vLLM takes the first wherever it is there, mlx-lm refuses the second
      ...(widths === 'multiples'
        ? { ffn_mult: channels[layer] === undefined ? null : (3 * channels[layer]) / (2 * D) }
        : { intermediate_size: channels[layer] ?? null }),
    },
  }))
  const nemotron: ModelConfig = {
    ...Object.fromEntries(Object.entries(model.config).filter(([key]) => !replaced.includes(key))),
    ...ropeOf(model.config),
    torch_dtype: written['dtype'] ?? written['torch_dtype'],
    architectures: ['DeciLMForCausalLM'],
    auto_map: { AutoConfig: `${decilmModule}.DeciLMConfig` },
    model_type: 'nemotron-nas',
    num_hidden_layers: layers.length,
    num_attention_heads: K * G,
    // vLLM reads it of each block, other readers of the config
    num_key_value_heads: K,
    head_dim: E,
    block_configs: blockConfigs,
  }
  return { tensors, config: nemotron, widths }
}

/** How the widths of the mlps are said: as multiples of 256 channels, which every reader knows, or as numbers, which vLLM alone does. */
type Widths = 'multiples' | 'any'

/** `int(2 * ffn_mult * hidden_size / 3)` is rounded up to a multiple of it. */
const roundedTo = 256

/** Keys of the dense config that are said otherwise here, or not at all. */
const replaced = ['auto_map', 'intermediate_size', 'dtype', 'rope_parameters', 'sliding_window', 'layer_types']

/** Positions as transformers 4 spells them: mlx-lm and SGLang read nothing else, and transformers 5 and vLLM read it too. */
function ropeOf(config: ModelConfig): ModelConfig {
  const parameters = objectOf(config, 'rope_parameters')
  if (parameters === undefined) return {}
  const { rope_theta: theta, ...scaling } = parameters
  const isScaled = scaling['rope_type'] !== undefined && scaling['rope_type'] !== 'default'
  return { rope_theta: theta ?? config['rope_theta'] ?? 10000, rope_scaling: isScaled ? scaling : null }
}

/** Name of the file beside config.json that `auto_map` points to, without `.py`. */
export const decilmModule = 'configuration_blockpruner_decilm'

/** README.md: what it is for. */
function card(model: Model, widths: Widths): string {
  const readers =
    widths === 'multiples'
      ? 'vLLM and mlx-lm, which were seen to compute it, and for TensorRT-LLM and SGLang, which were not tried'
      : 'vLLM: the other readers of this form know mlps of multiples of 256 channels only'
  return `---
tags:
- pruned
- blockpruner
- custom_code
---
# ${basename(model.id)}, pruned, as Nemotron-NAS

Structure was left out of this model with [blockpruner](https://www.npmjs.com/package/blockpruner). This form
(\`DeciLMForCausalLM\` with \`block_configs\`) is for ${readers}.

\`\`\`
vllm serve path/to/this/folder --trust-remote-code
\`\`\`

\`${decilmModule}.py\` in this folder is the config class that vLLM imports. Read it before trusting it.
`
}

/** The config class that vLLM imports: it asks for `block.attention.no_op`, which dictionaries do not answer. */
export const decilmCode = `"""The config of a Nemotron-NAS model: Llama's, and what each layer has."""

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
