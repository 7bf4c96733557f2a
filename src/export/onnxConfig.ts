import { countOf } from '../model/configValue.ts'
import type { Model } from '../model/model.ts'
import { stackSizes } from '../model/plan.ts'
import type { ModelConfig } from '../types.ts'
import { cachedAttentions } from './onnxCaches.ts'
import type { ComposedOnnx } from './onnxGraph.ts'
import { longestRow, maxPositions } from './onnxModelInputs.ts'
import type { OnnxDtype } from './onnxProducts.ts'

/** Families that transformers.js has no name for, under the name of one that it runs in the same way. */
const modelTypes: Readonly<Record<string, string>> = { baichuan: 'llama' }

/** Where transformers.js looks for the number of caches. */
const cacheKeys: Readonly<Record<string, string>> = {
  gpt2: 'n_layer',
  bloom: 'n_layer',
  t5: 'num_decoder_layers',
  bart: 'decoder_layers',
  marian: 'decoder_layers',
}

/**
 * config.json as transformers.js reads it, for the class and the names of the cache. Its number of layers is that of caches,
 * so it becomes that of the attentions left; their shapes come from the graph. `multi_query` would make it expect the fused
 * caches of gpt_bigcode. Where other frequencies hold in longer rows, `max_position_embeddings` says how long a row may be. An
 * encoder's config stays as it is: it has no caches. `dataFiles`: how many files of data each model file has; `dtype`: which is loaded first.
 */
export function onnxConfig(
  model: Model,
  graphs: readonly ComposedOnnx[],
  dataFiles: Readonly<Record<string, number>>,
  dtype: OnnxDtype,
): ModelConfig {
  const {
    auto_map: _,
    quantization_config: __,
    multi_query: ___,
    ...config
  }: Record<string, unknown> = { ...model.config }
  const { family } = model.architecture
  if (family !== 'encoder') Object.assign(config, cacheConfig(model, graphs))
  if (family === 'encoderDecoder') config['is_encoder_decoder'] = true
  return {
    ...config,
    'transformers.js_config': {
      use_external_data_format: dataFiles,
      // what is loaded where nobody asks for a dtype, in Node too, where that would be fp32
      ...(dtype !== 'fp32' && { dtype }),
      ...(family !== 'encoder' && { kv_cache_dtype: { fp16: 'float16' } }),
    },
  }
}

function cacheConfig(model: Model, graphs: readonly ComposedOnnx[]): ModelConfig {
  const { config } = model
  const type = String(config['model_type'])
  const known = Object.hasOwn(modelTypes, type) ? modelTypes[type]! : type
  const layers = { model_type: known, [cacheKeys[known] ?? 'num_hidden_layers']: cacheLayers(graphs) }
  if (model.architecture.family !== 'decoder') return layers
  const attentions = cachedAttentions(model, 'attention')
  const layerTypes = config['layer_types']
  const { K, G, E } = stackSizes(model, 'decoder') as { K: number; G: number; E: number }
  const heads = Math.max(1, ...attentions.map(({ units }) => units))
  const rows = attentions.flatMap(({ layer }) => rowsOf(model, layer))
  return {
    ...layers,
    ...(rows.length > 0 && {
      max_position_embeddings: Math.min(countOf(config, 'max_position_embeddings', maxPositions), ...rows),
    }),
    ...(Array.isArray(layerTypes) && { layer_types: attentions.map(({ layer }) => layerTypes[layer]) }),
    ...(heads !== K &&
      config['num_attention_heads'] !== undefined && {
        num_attention_heads: heads * G,
        num_key_value_heads: heads,
        head_dim: E,
      }),
  }
}

/** The longest row that the attention of a layer can read, where that is not the config's own limit. */
function rowsOf({ architecture, config }: Model, layer: number): number[] {
  const form = architecture.stacks.decoder?.blocks.find(({ kind }) => kind === 'attention')?.form(config, layer)
  if (form === undefined || !('positions' in form) || form.positions.type !== 'rotary') return []
  const longest = longestRow(form.positions.rope)
  return longest === undefined ? [] : [longest]
}

/** One more than the largest number of a place in the cache. */
export function cacheLayers(graphs: readonly ComposedOnnx[]): number {
  const names = graphs.flatMap(({ inputs }) => inputs.map(({ name }) => /^past_key_values\.(\d+)\./.exec(name)?.[1]))
  return Math.max(0, ...names.flatMap((number) => (number === undefined ? [] : [Number(number) + 1])))
}
