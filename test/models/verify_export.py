"""
Loads exports in transformers and compares them with the dense model, in which the same structure is skipped by hand.

    python verify_export.py DENSE EXPORT PLAN.json [EXPORT PLAN.json ...]

A plan is {"blocks": ["decoder.3.mlp", ...], "units": {"decoder.2.attention": [0], ...}}. Prints one PASS or FAIL line a
check and ends with 1 when one fails, or when there was nothing to check. Needs torch and transformers; made with torch
2.13 and transformers 5.23. Everything runs in float32 on the CPU.
"""

import json
import sys
import tempfile

import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, DynamicCache, StaticCache

TOLERANCE = 1e-4
TOKENS = 100  # more than the sliding window of the tiny Mistral, 64
NEW_TOKENS = 12

checks = failures = 0


def check(name, ok, detail=""):
    global checks, failures
    checks += 1
    failures += not ok
    print(f"{'PASS' if ok else 'FAIL'} {name}{' ' + detail if detail else ''}", flush=True)


def close(name, found, expected):
    difference = (found - expected).abs().max().item()
    check(name, difference <= TOLERANCE, f"largest difference {difference:.1e}")


def skip_structure(model, plan):
    """The dense model with the plan's branches passing the hidden state on, and the columns of its units zeroed."""
    removed = set(plan["blocks"])
    config = model.config
    head_dim = model.model.layers[0].self_attn.head_dim
    group = config.num_attention_heads // config.num_key_value_heads
    for index, layer in enumerate(model.model.layers):
        for unit in plan.get("units", {}).get(f"decoder.{index}.attention", []):
            layer.self_attn.o_proj.weight.data[:, unit * group * head_dim : (unit + 1) * group * head_dim] = 0
        for unit in plan.get("units", {}).get(f"decoder.{index}.mlp", []):
            layer.mlp.down_proj.weight.data[:, unit] = 0
        has_attention = f"decoder.{index}.attention" not in removed
        has_mlp = f"decoder.{index}.mlp" not in removed

        def forward(hidden_states, layer=layer, has_attention=has_attention, has_mlp=has_mlp, **kwargs):
            if has_attention:
                attended, _ = layer.self_attn(hidden_states=layer.input_layernorm(hidden_states), **kwargs)
                hidden_states = hidden_states + attended
            if has_mlp:
                hidden_states = hidden_states + layer.mlp(layer.post_attention_layernorm(hidden_states))
            return hidden_states

        layer.forward = forward
    return model


def chunked(model, ids, cache):
    """Logits of a forward in four chunks over one cache."""
    parts, start = [], 0
    for length in (1, 40, 2, ids.shape[1] - 43):
        chunk = ids[:, start : start + length]
        parts.append(model(chunk, past_key_values=cache, use_cache=True).logits)
        start += length
    return torch.cat(parts, 1)


def generate(model, ids, **options):
    return model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        do_sample=False,
        pad_token_id=0,
        **options,
    )


@torch.no_grad()
def verify(dense_folder, export, plan):
    with open(f"{export}/config.json") as file:
        config = json.load(file)
    remote = {"trust_remote_code": True} if config["model_type"] == "blockpruner" else {}
    places = config["num_hidden_layers"]
    if remote:
        # without any attention one place counts the tokens
        places = max(1, sum("attention" in layer for layer in config["block_layout"]["decoder"]))
    load = {"dtype": torch.float32, "attn_implementation": "eager"}

    dense = skip_structure(AutoModelForCausalLM.from_pretrained(dense_folder, **load).eval(), plan)
    model, report = AutoModelForCausalLM.from_pretrained(export, output_loading_info=True, **load, **remote)
    model.eval()
    wrong = {key: value for key, value in report.items() if value}
    check("loads with every weight in its place", not wrong, str(wrong) if wrong else config["model_type"])
    check("AutoConfig sees the layers", AutoConfig.from_pretrained(export, **remote).num_hidden_layers == len(model.model.layers))

    torch.manual_seed(0)
    ids = torch.randint(3, model.config.vocab_size, (2, TOKENS))
    expected = dense(ids, use_cache=False).logits
    full = model(ids, use_cache=False).logits
    close("full forward equals the dense model with the structure skipped", full, expected)
    close("AutoModel gives the same hidden states", model.lm_head(AutoModel.from_pretrained(export, **load, **remote).eval()(ids).last_hidden_state), full)
    cache = DynamicCache(config=model.config)
    close("chunked forward over a dynamic cache equals the full one", chunked(model, ids, cache), full)
    filled = [layer.is_initialized for layer in cache.layers]
    check("the cache holds every attention and nothing else", sum(filled) == places, f"{sum(filled)} of {len(filled)}")
    check("the cache knows its length", cache.get_seq_length() == (TOKENS if places else 0))
    close("chunked forward over a cache without config equals the full one", chunked(model, ids, DynamicCache()), full)
    static = StaticCache(config=model.config, max_cache_len=TOKENS + 8)
    close("chunked forward over a static cache equals the full one", chunked(model, ids, static), full)
    model.set_attn_implementation("sdpa")
    close("sdpa attention equals eager", model(ids, use_cache=False).logits, full)
    model.set_attn_implementation("eager")

    padded = torch.cat([torch.zeros(2, 5, dtype=torch.long), ids], 1)
    mask = torch.cat([torch.zeros(2, 5, dtype=torch.long), torch.ones_like(ids)], 1)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    close("left padding changes nothing", model(padded, attention_mask=mask, position_ids=positions).logits[:, 5:], full)

    prompt = ids[:, :70]
    plain = generate(model, prompt, use_cache=False)
    check("greedy text equals the dense model's", torch.equal(plain, generate(dense, prompt, use_cache=False)))
    check("greedy text is the same with a cache", torch.equal(plain, generate(model, prompt, use_cache=True)))
    static_text = generate(model, prompt, cache_implementation="static")
    check("greedy text is the same with a static cache", torch.equal(plain, static_text))
    hidden = model(ids, output_hidden_states=True).hidden_states or ()
    layers = len(model.model.layers)
    # transformers collects them in the layers, so without layers it has none
    check("gives a hidden state a layer", len(hidden) == (layers + 1 if layers else 0), str(len(hidden)))

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        again = AutoModelForCausalLM.from_pretrained(folder, **load, **remote).eval()
        close("saved and loaded again gives the same logits", again(ids, use_cache=False).logits, full)


def main():
    dense, *pairs = sys.argv[1:]
    for export, plan_path in zip(pairs[::2], pairs[1::2]):
        print(f"-- {export}", flush=True)
        try:
            with open(plan_path) as file:
                verify(dense, export, json.load(file))
        except Exception as error:  # the remaining exports are still worth a look
            check("runs to the end", False, f"{type(error).__name__}: {error}")
    print(f"{checks - failures} of {checks} checks passed")
    sys.exit(1 if failures or checks == 0 else 0)


main()
