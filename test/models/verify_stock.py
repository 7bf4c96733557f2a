"""
Loads stock exports of any family in transformers and compares them with the dense model, in which the removed blocks add
nothing because what they put out is zero, or whose removed layers are taken out where a norm would still act.

    python verify_stock.py CASES.json

CASES is a list of {"dense": folder, "export": folder, "zero": [parameter, ...],
"columns": {parameter: [dimension, [index, ...]]}, "layers": {"encoder": [number, ...]}}: parameters and parts of parameters
set to zero, and layers taken out.
Prints one PASS or FAIL line a case and ends with 1 when one fails, or when there was none. Made with torch 2.13 and
transformers 5.23.
"""

import json
import sys

import torch
import transformers

TOLERANCE = 1e-4


def load(folder):
    with open(f"{folder}/config.json") as file:
        kind = getattr(transformers, json.load(file)["architectures"][0])
    model, report = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    missing = {key: sorted(report[key]) for key in ("missing_keys", "mismatched_keys", "unexpected_keys") if report[key]}
    return model.eval(), missing


def prune(model, case):
    parameters = dict(model.named_parameters())
    for name in case["zero"]:
        parameters[name].zero_()
    for name, (dimension, columns) in case["columns"].items():
        parameters[name].index_fill_(dimension, torch.tensor(columns), 0)
    for stack, numbers in case["layers"].items():
        lists = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.ModuleList)}
        matching = {name: module for name, module in lists.items() if len(lists) == 1 or f"{stack}." in name}
        ((_, layers),) = matching.items()
        for number in sorted(numbers, reverse=True):
            del layers[number]


@torch.no_grad()
def difference(case):
    dense, _ = load(case["dense"])
    export, missing = load(case["export"])
    if missing:
        raise ValueError(f"{missing}")
    prune(dense, case)
    torch.manual_seed(0)
    ids = torch.randint(3, dense.config.vocab_size, (2, 40))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if dense.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.randint(3, dense.config.vocab_size, (2, 24))
    return (export(**inputs).logits - dense(**inputs).logits).abs().max().item()


def main():
    with open(sys.argv[1]) as file:
        cases = json.load(file)
    failures = 0
    for case in cases:
        try:
            found = difference(case)
            ok, detail = found <= TOLERANCE, f"largest difference {found:.1e}"
        except Exception as error:  # the remaining cases are still worth a look
            ok, detail = False, f"{type(error).__name__}: {error}"
        failures += not ok
        print(f"{'PASS' if ok else 'FAIL'} {case['name']} {detail}", flush=True)
    print(f"{len(cases) - failures} of {len(cases)} checks passed")
    sys.exit(1 if failures or not cases else 0)


main()
