"""
Writes tiny models of every family with unusual but legal configs, and what transformers computes of them.

    python random_models.py FOLDER SEED COUNT

Each folder gets model.safetensors as transformers saves it, config.json with settings added that only other families have or that
say again, by another name, what is there, and expected.json: the input ids, those of the decoder where there is one, the names of
the added settings, and every logit, or every final hidden state of a model without a head, of the model that transformers' Auto
class loads from the folder. The same seed gives the same models. A draw that transformers refuses is drawn again. Made with torch
2.13 and transformers 5.23.

Weights are wide (norms and biases too), so that a mistake anywhere shows. Rows are shorter or longer than the 64 positions
beyond which LongRoPE and dynamic NTK turn otherwise.
"""

import json
import logging
import math
import pathlib
import random
import sys

import torch
import transformers
from transformers import CONFIG_MAPPING

draw = random.Random()
one_of = lambda *values: draw.choice(values)

ACTIVATIONS = ["gelu", "gelu_new", "gelu_fast", "relu", "relu2", "silu", "quick_gelu", "tanh"]
CONTEXT = 64
POSITIONS = 128


def activation(usual):
    return one_of(usual, usual, *ACTIVATIONS)


def rope(channels, **more):
    """Positions of a head of which so many channels turn."""
    kind = one_of("default", "default", "linear", "llama3", "yarn", "longrope", "dynamic")
    pairs = range(channels // 2)
    scaling = {
        "default": {},
        "linear": {"factor": 2.0},
        "dynamic": {"factor": 2.0},
        "llama3": {
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
        "yarn": {
            "factor": one_of(2.0, 4.0),
            "original_max_position_embeddings": one_of(16, 64),
            **one_of({}, {"beta_fast": 16.0, "beta_slow": 2.0}, {"attention_factor": 0.7}, {"truncate": False}),
        },
        "longrope": {
            "short_factor": [1.0 + 0.1 * i for i in pairs],
            "long_factor": [2.0 + 0.3 * i for i in pairs],
            "original_max_position_embeddings": CONTEXT,
            "factor": 4.0,
        },
    }
    return {"rope_type": kind, "rope_theta": one_of(100.0, 10000.0, 1e6), **scaling[kind], **more}


def positions(parameters):
    return CONTEXT if parameters["rope_type"] == "dynamic" else POSITIONS


def llama_like(own_head_dim=True, **more):
    heads, width = one_of(1, 2, 3, 4, 6), one_of(4, 8, 10, 16)
    turned = rope(width)
    return {
        "hidden_size": heads * (one_of(5, 12, width) if own_head_dim else width),
        "num_attention_heads": heads,
        "num_key_value_heads": draw.choice([k for k in (1, 2, 3, 6) if heads % k == 0]),
        **({"head_dim": width} if own_head_dim else {}),
        "num_hidden_layers": one_of(1, 2, 3, 4),
        "intermediate_size": one_of(7, 24, 40),
        "vocab_size": one_of(11, 50, 259),
        "hidden_act": activation("silu"),
        "tie_word_embeddings": one_of(True, False),
        "rms_norm_eps": one_of(1e-6, 1e-3),
        "rope_parameters": turned,
        "max_position_embeddings": positions(turned),
        "pad_token_id": one_of(None, 0, 3),
        **more,
    }


def gemma_like(**more):
    return llama_like(
        hidden_activation=one_of("gelu_pytorch_tanh", "gelu", "silu"),
        attention_bias=one_of(True, False),
        final_logit_softcapping=one_of(None, 3.0),
        sliding_window=one_of(3, 8, 4096),
        query_pre_attn_scalar=one_of(8, 256),
        **more,
    )


def qwen_like(**more):
    return llama_like(
        use_sliding_window=one_of(True, False),
        sliding_window=one_of(3, 4096),
        max_window_layers=one_of(0, 1, 28),
        **more,
    )


def gemma3():
    config = gemma_like()
    near = {"rope_type": "default", "rope_theta": 100.0}
    return {**config, "rope_parameters": {"full_attention": config["rope_parameters"], "sliding_attention": near}}


def partly_turned(share, **more):
    """Of the channels of a head only a share turns; the frequencies of LongRoPE are those of the whole head."""
    width = 16
    heads = one_of(1, 2, 4)
    turned = rope(int(width * share), partial_rotary_factor=share)
    return {
        "hidden_size": heads * width,
        "num_attention_heads": heads,
        "num_hidden_layers": one_of(1, 2, 3),
        "intermediate_size": one_of(7, 40),
        "vocab_size": one_of(11, 101),
        "layer_norm_eps": one_of(1e-5, 1e-3),
        "partial_rotary_factor": share,
        "rope_parameters": turned,
        "max_position_embeddings": positions(turned),
        **more,
    }


def gpt2():
    heads = one_of(1, 2, 3)
    return {
        "n_embd": heads * one_of(3, 8, 16),
        "n_head": heads,
        "n_layer": one_of(1, 2, 3),
        "n_inner": one_of(None, 7),
        "n_positions": POSITIONS,
        "vocab_size": one_of(11, 101),
        "activation_function": activation("gelu_new"),
        "scale_attn_weights": one_of(True, False),
        "scale_attn_by_inverse_layer_idx": one_of(True, False),
        "tie_word_embeddings": one_of(True, False),
    }


def opt():
    heads = one_of(1, 2, 4)
    hidden = heads * one_of(5, 16)
    return {
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_hidden_layers": one_of(1, 2, 3),
        "ffn_dim": one_of(7, 40),
        "vocab_size": one_of(11, 101),
        "max_position_embeddings": POSITIONS,
        "word_embed_proj_dim": one_of(hidden, hidden, 12),
        "do_layer_norm_before": one_of(True, True, False),
        "activation_function": activation("relu"),
        "enable_bias": one_of(True, False),
    }


def bloom():
    heads = one_of(1, 2, 3, 6)
    return {
        "hidden_size": heads * one_of(5, 16),
        "n_head": heads,
        "n_layer": one_of(1, 2, 3),
        "vocab_size": one_of(11, 101),
    }


def falcon():
    heads, width = one_of(1, 2, 4, 6), one_of(8, 16)
    return {
        "hidden_size": heads * width,
        "num_attention_heads": heads,
        "num_hidden_layers": one_of(1, 2, 3),
        "vocab_size": one_of(11, 101),
        "ffn_hidden_size": one_of(7, 40),
        "new_decoder_architecture": one_of(True, False),
        "num_kv_heads": draw.choice([k for k in (1, 2, 3) if heads % k == 0]),
        "multi_query": one_of(True, False),
        "parallel_attn": one_of(True, True, False),
        "bias": one_of(True, False),
        "alibi": one_of(False, False, True),
        "activation": activation("gelu"),
        "rope_parameters": {"rope_type": "default", "rope_theta": one_of(100.0, 10000.0)},
    }


def bert():
    heads = one_of(1, 2, 3)
    return {
        "hidden_size": heads * one_of(5, 16),
        "num_attention_heads": heads,
        "num_hidden_layers": one_of(1, 2, 3),
        "intermediate_size": one_of(7, 40),
        "vocab_size": one_of(17, 101),
        "max_position_embeddings": POSITIONS,
        "hidden_act": activation("gelu"),
        "type_vocab_size": one_of(1, 2),
        "pad_token_id": one_of(0, 1),
        "tie_word_embeddings": one_of(True, False),
    }


def distilbert():
    heads = one_of(1, 2, 3)
    return {
        "dim": heads * one_of(5, 16),
        "n_heads": heads,
        "n_layers": one_of(1, 2, 3),
        "hidden_dim": one_of(7, 40),
        "vocab_size": one_of(17, 101),
        "max_position_embeddings": POSITIONS,
        "activation": one_of("gelu", "relu", "silu"),
    }


def t5():
    return {
        "d_model": one_of(12, 24),
        "d_kv": one_of(4, 8, 16),
        "d_ff": one_of(7, 40),
        "num_layers": one_of(1, 2, 3),
        "num_decoder_layers": one_of(None, 1, 3),
        "num_heads": one_of(1, 2, 3),
        "relative_attention_num_buckets": one_of(4, 8),
        "relative_attention_max_distance": one_of(12, 20),
        "feed_forward_proj": one_of("relu", "gated-gelu", "gated-silu", "gelu"),
        "vocab_size": one_of(17, 101),
        "tie_word_embeddings": one_of(True, False),
        "decoder_start_token_id": 0,
    }


def bart():
    sizes = {f"{stack}_{what}": value for stack in ("encoder", "decoder") for what, value in (
        ("layers", one_of(1, 2, 3)), ("attention_heads", one_of(1, 2, 3)), ("ffn_dim", one_of(7, 40)))}
    return {
        **sizes,
        "d_model": one_of(12, 24),
        "vocab_size": one_of(17, 101),
        "max_position_embeddings": POSITIONS,
        "activation_function": activation("gelu"),
        "scale_embedding": one_of(True, False),
        "tie_word_embeddings": one_of(True, True, False),
        "pad_token_id": 1,
        "decoder_start_token_id": 2,
    }


DECODER, ENCODER, SEQ2SEQ = "AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoModelForSeq2SeqLM"
ENCODERS = (ENCODER, ENCODER, "AutoModel", "AutoModelForSequenceClassification")

def biased(**more):
    return {"attention_bias": one_of(True, False), **more}


def phi():
    share = one_of(0.25, 0.5)
    return partly_turned(share, hidden_act=activation("gelu_new"), qk_layernorm=one_of(True, False))


def phi3():
    window = one_of(None, 3)
    return llama_like(False, sliding_window=window, original_max_position_embeddings=CONTEXT, pad_token_id=0)


def gpt_neox():
    share = one_of(0.25, 0.5, 1.0)
    return partly_turned(share, hidden_act=activation("gelu"), use_parallel_residual=one_of(True, False))


# model_type -> how its config is drawn, and the classes that it comes as
FAMILIES = {
    "llama": (lambda: llama_like(**biased(mlp_bias=one_of(True, False))), (DECODER,)),
    "seed_oss": (lambda: llama_like(**biased(attention_out_bias=one_of(True, False), mlp_bias=one_of(True, False))), (DECODER,)),
    "mistral": (lambda: llama_like(sliding_window=one_of(None, 3, 4096)), (DECODER,)),
    "qwen2": (lambda: qwen_like(own_head_dim=False), (DECODER,)),
    "qwen3": (lambda: qwen_like(**biased()), (DECODER,)),
    "gemma": (lambda: llama_like(**biased(hidden_act=activation("gelu_pytorch_tanh"))), (DECODER,)),
    "gemma2": (lambda: gemma_like(attn_logit_softcapping=one_of(None, 2.0)), (DECODER,)),
    "gemma3_text": (gemma3, (DECODER,)),
    "phi": (phi, (DECODER,)),
    "phi3": (phi3, (DECODER,)),
    "gpt2": (gpt2, (DECODER,)),
    "gpt_neox": (gpt_neox, (DECODER,)),
    "opt": (opt, (DECODER,)),
    "bloom": (bloom, (DECODER,)),
    "falcon": (falcon, (DECODER,)),
    "bert": (bert, ENCODERS),
    "roberta": (bert, ENCODERS),
    "distilbert": (distilbert, ENCODERS),
    "t5": (t5, (SEQ2SEQ,)),
    "bart": (bart, (SEQ2SEQ,)),
    "marian": (bart, (SEQ2SEQ,)),
}


def randomize(model):
    """Every parameter from its own normal distribution: matrices about 1/sqrt(inputs), norms about 1, biases about 0."""
    # T5 does not scale its scores: wider ones would make attention flip at the last bits of a sum
    spread = 0.7 if model.config.model_type == "t5" else 1.5
    center = 0.0 if model.config.model_type.startswith("gemma") else 1.0
    for name, parameter in sorted(model.named_parameters()):
        if model.config.model_type == "marian" and "embed_positions" in name:
            continue  # sines and cosines, which are not stored
        noise = torch.randn(parameter.shape)
        if parameter.dim() == 2:
            parameter.data = noise * spread / math.sqrt(min(parameter.shape))
        else:
            parameter.data = noise * 0.3 + (0.0 if name.endswith("bias") else center)
    model.tie_weights()


# Settings of config.json, each read by some family's code and by most families' not, and values that would show.
FOREIGN = {
    "partial_rotary_factor": (0.5,), "rotary_pct": (0.5,), "rotary_emb_base": (55.0,), "rope_local_base_freq": (55.0,),
    "rope_theta": (55.0,), "head_dim": (2, 8), "num_key_value_heads": (1,), "num_kv_heads": (1,), "d_kv": (2,),
    "hidden_act": ("relu",), "hidden_activation": ("relu",), "activation_function": ("relu",), "activation": ("relu",),
    "feed_forward_proj": ("gated-silu",), "rms_norm_eps": (0.3,), "layer_norm_eps": (0.3,), "layer_norm_epsilon": (0.3,),
    "sliding_window": (2,), "use_sliding_window": (True,), "max_window_layers": (0,), "sliding_window_pattern": (2,),
    "attention_bias": (True,), "attention_out_bias": (True,), "mlp_bias": (True,), "bias": (True,), "enable_bias": (False,), "qkv_bias": (True,),
    "attn_logit_softcapping": (1.0,), "final_logit_softcapping": (1.0,), "query_pre_attn_scalar": (2,), "logit_scale": (0.5,),
    "scale_attn_weights": (False,), "scale_attn_by_inverse_layer_idx": (True,), "scale_embedding": (True,),
    "scale_decoder_outputs": (True, False), "alibi": (True,), "parallel_attn": (False,), "use_parallel_residual": (False,),
    "qk_layernorm": (True,), "use_qk_norm": (True,), "do_layer_norm_before": (False,), "n_inner": (9,), "d_ff": (9,),
    "ffn_dim": (9,), "ffn_hidden_size": (9,), "hidden_dim": (9,), "decoder_vocab_size": (9,), "new_decoder_architecture": (True,),
    "multi_query": (False,), "num_ln_in_parallel_attn": (2,), "embedding_multiplier": (2.0,), "residual_multiplier": (2.0,),
    "attention_multiplier": (2.0,), "logits_scaling": (2.0,), "original_max_position_embeddings": (16,), "is_causal": (False,),
    "position_embedding_type": ("relative_key",), "add_cross_attention": (True,), "pretraining_tp": (2,),
    "num_attention_heads": (1,), "num_heads": (1,), "n_head": (1,), "num_hidden_layers": (1,), "num_layers": (1,), "n_layers": (1,),
}


def foreign(config):
    """A setting that the config has not."""
    key = draw.choice([key for key in FOREIGN if key not in config])
    return {key: draw.choice(FOREIGN[key])}


def scaled_again(config):
    """Rotary settings in the spelling before transformers 5 beside the new one: the same or others."""
    parameters = config.get("rope_parameters") or {}
    parameters = parameters.get("full_attention", parameters)
    return {"rope_scaling": one_of(parameters, {"type": "linear", "factor": 2.0}, {}, None)}


def in_older_words(config):
    """Rotary settings in the spelling before transformers 5 alone."""
    parameters = config.get("rope_parameters")
    if not parameters or "rope_theta" not in parameters:
        return {}
    rest = {key: value for key, value in parameters.items() if key not in ("rope_theta", "rope_type", "partial_rotary_factor")}
    bases = ("rotary_emb_base", "rotary_pct") if config["model_type"] == "gpt_neox" else ("rope_theta", "partial_rotary_factor")
    share = {bases[1]: parameters["partial_rotary_factor"]} if "partial_rotary_factor" in parameters else {}
    scaling = None if parameters["rope_type"] == "default" else {"type": parameters["rope_type"], **rest}
    return {"rope_parameters": None, bases[0]: parameters["rope_theta"], **share, "rope_scaling": scaling}


def layer_types(config):
    layers = config.get("num_hidden_layers", 0)
    return {"layer_types": [one_of("full_attention", "sliding_attention") for _ in range(layers)]}


def types_twice(config):
    return {"dtype": "float32", "torch_dtype": one_of("float32", "bfloat16")}


def disturbed(config):
    """The config with settings added, and their names."""
    added = {}
    for change in draw.sample([foreign, foreign, foreign, scaled_again, in_older_words, layer_types, types_twice], one_of(0, 1, 2, 3)):
        added |= change({**config, **added})
    return {**config, **added}, sorted(key for key in added if key not in config or config[key] != added[key])


def loaded(kind, path, attention):
    """The model that the Auto class makes of the folder, all of its weights from there."""
    model, info = getattr(transformers, kind).from_pretrained(path, attn_implementation=attention, output_loading_info=True)
    if info["missing_keys"] or info["mismatched_keys"]:
        raise ValueError("has other weights")
    return model.float().eval()


def built(family, path):
    make, classes = FAMILIES[family]
    config, kind = CONFIG_MAPPING[family](**make()), draw.choice(classes)
    # Falcon's eager attention adds ALiBi's biases twice
    attention = "sdpa" if family == "falcon" else "eager"
    model = getattr(transformers, kind).from_config(config, attn_implementation=attention).float().eval()
    torch.manual_seed(draw.randrange(2**31))
    randomize(model)
    model.save_pretrained(path)
    changed, added = disturbed(json.loads((path / "config.json").read_text()))
    (path / "config.json").write_text(json.dumps(changed, indent=2))
    model = loaded(kind, path, attention)
    words, length = config.vocab_size, one_of(5, 24, CONTEXT + 8)
    inputs = {"input_ids": torch.randint(2, words, (2, length))}
    if kind != DECODER:
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if kind == SEQ2SEQ:
        inputs["decoder_input_ids"] = torch.randint(2, words, (2, 9))
    with torch.no_grad():
        output = model(**inputs)
    values = output["logits"] if "logits" in output else output["last_hidden_state"]
    if not values.isfinite().all():
        raise ValueError("overflows")
    ids = {name: ids.tolist() for name, ids in inputs.items()}
    return {**ids, "added": added, "values": values.flatten().tolist()}


def main():
    folder, seed, count = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    draw.seed(seed)
    for number in range(count):
        family = list(FAMILIES)[number % len(FAMILIES)]
        path = folder / f"{family}-{number}"
        for _ in range(40):
            try:
                expected = built(family, path)
                break
            except Exception as error:  # transformers refuses a config in many ways
                refusal = error
        else:
            raise SystemExit(f"{family}: transformers refused 40 configs, the last because of: {refusal}")
        (path / "expected.json").write_text(json.dumps(expected))


transformers.utils.logging.set_verbosity(logging.CRITICAL)
transformers.utils.logging.disable_progress_bar()
main()
