import type { ModelConfig } from '../types.ts'
import { choiceOf } from './configValue.ts'
import type { Activation } from './mathematics.ts'

/** Every name of config.json for an activation we compute. */
const activations = {
  silu: 'silu',
  swish: 'silu',
  gelu: 'gelu',
  gelu_python: 'gelu',
  gelu_new: 'geluTanh',
  gelu_fast: 'geluTanh',
  gelu_pytorch_tanh: 'geluTanh',
  gelu_accurate: 'geluTanh',
  gelu_python_tanh: 'geluTanh',
  quick_gelu: 'quickGelu',
  relu: 'relu',
  relu2: 'squaredRelu',
  tanh: 'tanh',
} as const satisfies Record<string, Activation>

type Name = keyof typeof activations

/** The activation that `config[key]` names. Throws `UnsupportedModelError` with the known names for another. */
export function activationOf(config: ModelConfig, key: string, fallback: Name): Activation {
  return activations[choiceOf(config, key, Object.keys(activations) as Name[], fallback)]
}
