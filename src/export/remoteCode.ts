import { type RemoteFamilyName, remoteFamilies } from '../model/remoteFamilies.ts'

/**
 * The Python file that transformers loads with `trust_remote_code=True`: the family's own classes, less the branches
 * that `config.block_layout` says are absent.
 */
export function remoteCode(family: RemoteFamilyName): string {
  const { prefix } = remoteFamilies[family]
  return `"""
${prefix} with attention or MLP branches left out, or with fewer heads or channels in some of them.

\`config.block_layout\` has one entry a layer: {"attention": true, "mlp": false, ...}. An absent branch has no weights and
passes the hidden state on; an absent attention has no key/value cache either. A branch that is narrower than the config
says gives its own num_attention_heads and num_key_value_heads, or intermediate_size, in the same entry.
"""

import copy

from torch import nn
from transformers.models.${family}.configuration_${family} import ${prefix}Config
from transformers.models.${family}.modeling_${family} import ${prefix}DecoderLayer, ${prefix}ForCausalLM, ${prefix}Model


class BlockPrunerConfig(${prefix}Config):
    model_type = "blockpruner"

    def validate_architecture(self):
        """Accepts any number of heads: head_dim is always explicit here."""


def cache_slots(config):
    """
    The place of each layer's attention in the key/value cache, None where it has none.

    The k-th attention of a type (full, sliding) takes the k-th layer's place of that type. transformers reads the length
    of the cache from its first place, so that one must not stay empty because the first attention is gone.
    """
    types = getattr(config, "layer_types", None) or ["all"] * config.num_hidden_layers
    free = {kind: [i for i, other in enumerate(types) if other == kind] for kind in types}
    return [free[kind].pop(0) if layer["attention"] else None for kind, layer in zip(types, config.block_layout)]


class BlockPrunerDecoderLayer(${prefix}DecoderLayer):
    def __init__(self, config, layer_idx):
        layout = config.block_layout[layer_idx]
        narrowed = copy.copy(config)
        for name in ("num_attention_heads", "num_key_value_heads", "intermediate_size"):
            if name in layout:
                setattr(narrowed, name, layout[name])
        slot = cache_slots(config)[layer_idx]
        super().__init__(narrowed, layer_idx if slot is None else slot)
        self.has_attention, self.has_mlp = layout["attention"], layout["mlp"]
        if self.has_attention:
            self.self_attn.config = config  # a later change of the attention implementation must reach it
        else:
            del self.self_attn, self.input_layernorm
        if not self.has_mlp:
            del self.mlp, self.post_attention_layernorm

    def forward(self, hidden_states, **kwargs):
        if self.has_attention:
            attended, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **kwargs)
            hidden_states = hidden_states + attended
        if self.has_mlp:
            hidden_states = hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))
        return hidden_states


class BlockPrunerModel(${prefix}Model):
    config_class = BlockPrunerConfig
    _no_split_modules = ["BlockPrunerDecoderLayer"]

    def __init__(self, config):
        super().__init__(config)
        self.layers = nn.ModuleList([BlockPrunerDecoderLayer(config, i) for i in range(config.num_hidden_layers)])
        self.post_init()


class BlockPrunerForCausalLM(${prefix}ForCausalLM):
    config_class = BlockPrunerConfig
    _no_split_modules = ["BlockPrunerDecoderLayer"]

    def __init__(self, config):
        super().__init__(config)
        self.model = BlockPrunerModel(config)
        self.post_init()
`
}
