"""
Loads exports of any family in transformers and compares them with numbers that blockpruner's own engine computed.

    python verify_families.py CASES.json

CASES is a list of {"name", "export": folder, "form", "task", "input": {"ids": [...], "rows": 2}, "decoder": the same for an
encoder-decoder, "reloads": whether transformers accepts the config that it saves, "expected": file of float32}. Prints one PASS or FAIL line a check and ends with 1 when one fails, or when
there was nothing to check. Made with torch 2.13 and transformers 5.23. Everything runs in float32 on the CPU.
"""

import inspect
import json
import sys
import tempfile

import torch
import transformers
from transformers import AutoModel, DynamicCache, EncoderDecoderCache, StaticCache
from transformers.generation import GenerationMixin

TOLERANCE = 1e-4
NEW_TOKENS = 4
PADDING = 5

checks = failures = 0


def check(name, ok, detail=""):
    global checks, failures
    checks += 1
    failures += not ok
    print(f"{'PASS' if ok else 'FAIL'} {name}{' ' + detail if detail else ''}", flush=True)


def close(name, found, expected):
    if found.shape != expected.shape:
        return check(name, False, f"shape {tuple(found.shape)}, expected {tuple(expected.shape)}")
    difference = (found - expected).abs().max().item()
    check(name, difference <= TOLERANCE * max(1, expected.abs().max()), f"largest difference {difference:.1e}")


HEADS = {"nextToken": "AutoModelForCausalLM", "maskedToken": "AutoModelForMaskedLM", "spanCorruption": "AutoModelForSeq2SeqLM"}


def class_of(config, task):
    """The class that config.json names, as an auto class where it is in the export's own code."""
    if "architectures" not in config:
        return getattr(transformers, HEADS[task])
    (name,) = config["architectures"]
    for auto, path in config.get("auto_map", {}).items():
        if path.endswith(f".{name}"):
            return getattr(transformers, auto)
    return getattr(transformers, name)


def load(kind, folder, **options):
    model, report = kind.from_pretrained(
        folder, dtype=torch.float32, trust_remote_code=True, output_loading_info=True, **options
    )
    return model.eval(), {key: sorted(value) for key, value in report.items() if value}


def is_falcon_with_alibi(model):
    """
    transformers' own makes ALiBi's biases for the tokens seen, which do not fit a static cache, and adds them twice in the
    eager attention, to the mask and to the scores: for the dense model just as for exports.
    """
    return getattr(model.config, "alibi", False)


def logits(output):
    """What the head of a model gives, or the hidden states of one without."""
    for name in ("logits", "prediction_logits", "last_hidden_state"):
        if name in output:
            return output[name]


def generate(model, inputs, **options):
    return model.generate(
        **inputs, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0, **options
    )


def chunked(forward, ids, cache):
    """Logits of a forward in four chunks over one cache."""
    parts, start = [], 0
    for length in (1, 11, 2, ids.shape[1] - 14):
        parts.append(forward(ids[:, start : start + length], cache))
        start += length
    return torch.cat(parts, 1)


def check_decoder(name, model, ids, full):
    forward = lambda chunk, cache: model(chunk, past_key_values=cache, use_cache=True).logits
    close(f"{name}: chunked over a cache", chunked(forward, ids, DynamicCache(config=model.config)), full)
    close(f"{name}: chunked over a cache without config", chunked(forward, ids, DynamicCache()), full)
    cache = DynamicCache(config=model.config)
    forward(ids, cache)
    check(f"{name}: the cache knows its length", cache.get_seq_length() == ids.shape[1], str(cache.get_seq_length()))
    if not is_falcon_with_alibi(model):
        static = StaticCache(config=model.config, max_cache_len=ids.shape[1] + 3)
        close(f"{name}: chunked over a static cache", chunked(forward, ids, static), full)
        model.set_attn_implementation("eager")
        close(f"{name}: eager attention", model(ids, use_cache=False).logits, full)
    for side in ("left", "right"):
        filler = torch.ones(ids.shape[0], PADDING, dtype=torch.long)
        padded, mask = [filler, ids], [filler * 0, torch.ones_like(ids)]
        if side == "right":
            padded, mask = padded[::-1], mask[::-1]
        padded, mask = torch.cat(padded, 1), torch.cat(mask, 1)
        inputs = {"input_ids": padded, "attention_mask": mask}
        if "position_ids" in inspect.signature(model.forward).parameters:
            inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
        found = model(**inputs).logits
        close(f"{name}: {side} padding", found[:, PADDING:] if side == "left" else found[:, :-PADDING], full)


def check_generate(name, model, inputs):
    plain = generate(model, inputs, use_cache=False)
    check(f"{name}: greedy text is the same with a cache", torch.equal(plain, generate(model, inputs)))
    if not is_falcon_with_alibi(model):
        static = generate(model, inputs, cache_implementation="static")
        check(f"{name}: greedy text is the same with a static cache", torch.equal(plain, static))


def check_encoder_decoder(name, model, inputs, decoder_ids, full):
    encoded = model.get_encoder()(**inputs)

    def forward(chunk, cache):
        return model(
            encoder_outputs=encoded,
            attention_mask=inputs["attention_mask"],
            decoder_input_ids=chunk,
            past_key_values=cache,
            use_cache=True,
        ).logits

    dynamic = EncoderDecoderCache(DynamicCache(config=model.config), DynamicCache(config=model.config))
    close(f"{name}: chunked over a cache", chunked(forward, decoder_ids, dynamic), full)
    seen = dynamic.get_seq_length()
    check(f"{name}: the cache knows its length", seen == decoder_ids.shape[1], str(seen))


@torch.no_grad()
def verify(case):
    name, folder = case["name"], case["export"]
    with open(f"{folder}/config.json") as file:
        config = json.load(file)
    kind = class_of(config, case["task"])
    model, wrong = load(kind, folder)
    check(f"{name}: loads ({case['form']})", not wrong, str(wrong) if wrong else "")
    rows = lambda part: torch.tensor(part["ids"]).reshape(part["rows"], -1)
    ids = rows(case["input"])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    whole = dict(inputs)
    if case.get("decoder") is not None:
        whole["decoder_input_ids"] = rows(case["decoder"])
    full = logits(model(**whole))
    with open(case["expected"], "rb") as file:
        expected = torch.frombuffer(bytearray(file.read()), dtype=torch.float32)
    close(f"{name}: numbers of the engine", full, expected.reshape(full.shape))

    if case.get("decoder") is not None:
        check_encoder_decoder(name, model, inputs, whole["decoder_input_ids"], full)
    elif isinstance(model, GenerationMixin):
        check_decoder(name, model, ids, full)
    if isinstance(model, GenerationMixin):
        check_generate(name, model, inputs)
    if not isinstance(model, GenerationMixin) or case.get("decoder") is not None:
        filler = torch.ones(ids.shape[0], PADDING, dtype=torch.long)
        padded = {"input_ids": torch.cat([ids, filler], 1), "attention_mask": torch.cat([torch.ones_like(ids), filler * 0], 1)}
        found = logits(model(**{**whole, **padded}))
        if found.dim() == 3 and case.get("decoder") is None:
            found = found[:, : ids.shape[1]]
        close(f"{name}: padding behind", found, full)

    base, wrong = load(AutoModel, folder)
    inner = getattr(model, model.base_model_prefix, None)
    if inner is not None:
        # keys of the head are too many, those of a pooler and of computed positions too few
        close(f"{name}: AutoModel", base(**whole).last_hidden_state, inner(**whole).last_hidden_state)
    else:
        missing = wrong.get("missing_keys", [])
        check(f"{name}: AutoModel loads", all("pooler" in key for key in missing), str(missing))
    if not case["reloads"]:
        return
    with tempfile.TemporaryDirectory() as again:
        model.save_pretrained(again)
        reloaded, wrong = load(kind, again)
        close(f"{name}: saved and loaded again", logits(reloaded(**whole)), full)


def main():
    with open(sys.argv[1]) as file:
        cases = json.load(file)
    for case in cases:
        try:
            verify(case)
        except Exception as error:  # the remaining exports are still worth a look
            check(f"{case['name']}: runs to the end", False, f"{type(error).__name__}: {error}")
    print(f"{checks - failures} of {checks} checks passed")
    sys.exit(1 if failures or not checks else 0)


main()
