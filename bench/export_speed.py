"""The Python side of exports.mjs' speeds: transformers.

Reads { paths, prompt, tokens, rounds, threads } as JSON, loads every export of `paths` side by side in float32, reads the prompt and
generates `tokens` tokens with each in turn, round by round, greedily and past any end of text, and prints as the last line
{ times }: for each path its seconds round by round, or why there are none. Written for torch 2.13 and transformers 5.23.
"""

import json
import os
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import torch
from transformers import AutoModelForCausalLM, GenerationConfig


class Ticks:
    """A streamer: it gets the prompt first, then each token."""

    def __init__(self):
        self.times = []

    def put(self, _):
        self.times.append(time.perf_counter())

    def end(self):
        pass


def load(path):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, trust_remote_code=True, local_files_only=True)
    # no end of text: the count is what stops it
    model.generation_config = GenerationConfig(do_sample=False, pad_token_id=0)
    return model.eval()


def run(model, ids, count):
    ticks = Ticks()
    model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=count + 1, streamer=ticks)
    return ticks.times


def main():
    request = json.load(sys.stdin)
    torch.set_num_threads(request["threads"])
    ids = torch.tensor([request["prompt"]])
    tokens = request["tokens"]
    models, times = [], []
    for path in request["paths"]:
        try:
            model = load(path)
            run(model, ids, 2)  # untimed: memory is taken, weights are read
            models.append(model)
            times.append([])
        except Exception as error:  # one export that does not load must not take the others with it
            models.append(None)
            times.append({"error": f"{type(error).__name__}: {error}"})
    for _ in range(request["rounds"]):
        for model, path, found in zip(models, request["paths"], times):
            if model is None:
                continue
            time.sleep(0.05)  # threads of the one before that still spin would slow it
            ticks = run(model, ids, tokens)
            if len(ticks) != tokens + 2:
                raise RuntimeError(f"{path}: {len(ticks) - 1} tokens, expected {tokens + 1}")
            found.append({"prompt": ticks[1] - ticks[0], "generation": ticks[-1] - ticks[1]})
    print(f"\n{json.dumps({'times': times})}")


main()
