"""
Writes tiny seeded models whose configs are awkward to prune into FOLDER, each in a folder of its own name.

    python make_models.py FOLDER

Made with torch 2.13 and transformers 5.23.
"""

import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

SIZES = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 5,
    "max_position_embeddings": 256,
}

MODELS = {
    # biases everywhere, one query head a key/value head: three heads left do not divide the hidden size
    "llama-biases": LlamaForCausalLM(
        LlamaConfig(**SIZES, num_attention_heads=4, num_key_value_heads=4, attention_bias=True, mlp_bias=True)
    ),
    # head_dim apart from hidden size / heads, a window on every layer, tied head
    "mistral-window": MistralForCausalLM(
        MistralConfig(
            **SIZES, num_attention_heads=8, num_key_value_heads=4, head_dim=24, sliding_window=16, tie_word_embeddings=True
        )
    ),
    # layers of two types, each with its own kind of key/value cache
    "qwen2-two-types": Qwen2ForCausalLM(
        Qwen2Config(
            **SIZES,
            num_attention_heads=4,
            num_key_value_heads=2,
            use_sliding_window=True,
            sliding_window=16,
            max_window_layers=2,
        )
    ),
}


@torch.no_grad()
def main():
    torch.manual_seed(7)
    for name, model in MODELS.items():
        for parameter in model.parameters():
            # norms and biases away from 1 and 0, so that a mix-up shows
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (parameter.ndim == 1) * 0.5)
        model.save_pretrained(f"{sys.argv[1]}/{name}")


main()
