"""Runs graphs in PyTorch, in float64, and compares its gradients with those of our gradient graphs.

    python graph_gradients.py CASES.json

CASES.json: a list of {name, nodes, feeds, output, seed, gradients}; a tensor is {type, dims, data}, data in base64. Knows each
operation by what src/graph/operations.ts says of it; PyTorch's autograd does the rest. Prints FAIL for each gradient that
is off by more than 1e-5 of its largest element, and how many passed.
"""
import base64
import json
import math
import sys

import numpy
import torch
import torch.nn.functional as F

kinds = {"float32": numpy.float32, "int64": numpy.int64, "int32": numpy.int32}


def tensor(stored):
    values = numpy.frombuffer(base64.b64decode(stored["data"]), kinds[stored["type"]]).reshape(stored["dims"])
    found = torch.from_numpy(values.copy())
    return found.double() if stored["type"] == "float32" else found.long()


def linear(a, x, w, bias=None):
    y = x @ (w if a.get("inputFirst") else w.T)
    return y if bias is None else y + bias


def rms_norm(a, x, scale):
    return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + a["epsilon"]) * scale


def reshape(a, x):
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(a["shape"])])


def count_positions(a, ids):
    counted = (ids != a["uncounted"]).long()
    return counted.cumsum(1) * counted + a["offset"] - 1


def log_probability(a, z, index):
    logs = F.log_softmax(z, -1)
    return logs.gather(1, index if index.dim() == 2 else index[:, None]).reshape(index.shape)


operations = {
    "linear": linear,
    "matmul": lambda a, x, y: x @ y,
    "add": lambda a, x, y: x + y,
    "mul": lambda a, x, y: x * y,
    "div": lambda a, x, y: x / y,
    "rmsNorm": rms_norm,
    "layerNorm": lambda a, x, *rest: F.layer_norm(x, x.shape[-1:], *rest, eps=a["epsilon"]),
    "rowLength": lambda a, w: w.norm(dim=1).clamp(min=1e-12),
    "silu": lambda a, x: F.silu(x),
    "gelu": lambda a, x: F.gelu(x),
    "geluTanh": lambda a, x: F.gelu(x, approximate="tanh"),
    "quickGelu": lambda a, x: x * torch.sigmoid(1.702 * x),
    "relu": lambda a, x: F.relu(x),
    "squaredRelu": lambda a, x: F.relu(x).pow(2),
    "tanh": lambda a, x: torch.tanh(x),
    "embedding": lambda a, table, ids: F.embedding(ids, table),
    "countPositions": count_positions,
    "reshape": reshape,
    "transpose": lambda a, x: x.permute(a["order"]),
    "slice": lambda a, x: x.narrow(a["axis"], a["start"], a["end"] - a["start"]),
    "concat": lambda a, *xs: torch.cat(xs, a["axis"]),
    "gather": lambda a, x, index: x.index_select(a["axis"], index),
    "scale": lambda a, x: x * a["by"],
    "shift": lambda a, x: x + a["by"],
    "roundToBfloat16": lambda a, x: x.bfloat16().double(),
    "softmax": lambda a, x: torch.softmax(x, -1),
    "logSumExp": lambda a, x: torch.logsumexp(x, -1),
    "logProbability": log_probability,
    "pick": lambda a, x, index: x.gather(1, index[:, None])[:, 0],
}


def check(case):
    """(name, share of the largest element) of each gradient."""
    values = {name: tensor(stored) for name, stored in case["feeds"].items()}
    for name in case["gradients"]:
        values[name].requires_grad_()
    for node in case["nodes"]:
        values[node["output"]] = operations[node["op"]](node["attributes"], *(values[name] for name in node["inputs"]))
    (values[case["output"]] * tensor(case["seed"])).sum().backward()
    whole = max(values[name].grad.abs().max().item() for name in case["gradients"])
    for name, stored in case["gradients"].items():
        expected = values[name].grad
        found = tensor(stored["value"])
        if "rows" in stored:
            rows = tensor(stored["rows"]).reshape(-1)
            found = torch.zeros_like(expected).index_add(0, rows, found.reshape(len(rows), -1))
        if found.shape != expected.shape:
            yield name, math.inf
            continue
        largest = expected.abs().max().item()
        # softmax does not see what all keys have in common, such as a bias: rounding is all there is, and it is that of the others
        scale = largest if largest > 1e-12 * whole else whole
        yield name, (found - expected).abs().max().item() / scale


def main():
    passed = total = 0
    worst = 0.0
    with open(sys.argv[1]) as file:
        cases = json.load(file)
    for case in cases:
        for name, off in check(case):
            total += 1
            worst = max(worst, off)
            if off <= 1e-5:
                passed += 1
            else:
                print(f"FAIL {case['name']}: {name} is off by {off:.1e}")
    print(f"worst {worst:.1e}")
    print(f"{passed} of {total} gradients passed")


main()
