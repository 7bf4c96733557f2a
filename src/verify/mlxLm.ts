import type { Consumer } from './consumer.ts'
import { scoreInPython, skipCode } from './python.ts'

/** mlx-lm, which runs Nemotron-NAS on Apple's chips and, through mlx-cpu, elsewhere. */
export const mlxLm: Consumer = {
  name: 'mlx-lm',
  formats: ['nemotron'],
  score: (request) => scoreInPython(program, request),
}

/** Loads in float32, scores in two chunks: the second shows whether each attention found its own place in the cache. */
const program = `
import json, os, sys
from pathlib import Path
try:
    import numpy, mlx.core as mx, mlx_lm
    from mlx_lm.models.cache import make_prompt_cache
    from mlx_lm.utils import load_model
except ImportError as error:
    print(f"{error.name} is not installed in {sys.executable}: pip install mlx-lm")
    sys.exit(${skipCode})
request = json.load(sys.stdin)
with open(os.path.join(request["path"], "config.json")) as file:
    config = json.load(file)
if any("intermediate_size" in block["ffn"] for block in config["block_configs"]):
    print("mlx-lm reads mlps of multiples of 256 channels only")
    sys.exit(${skipCode})
if config["num_attention_heads"] * config["head_dim"] != config["hidden_size"]:
    print("mlx-lm reads heads that add up to the hidden size only")
    sys.exit(${skipCode})
model, _ = load_model(Path(request["path"]))
model.set_dtype(mx.float32)
length = request["rowLength"]
middle = (length + 1) // 2
rows = numpy.array(request["ids"]).reshape(request["rows"], 1, length)
with open(request["output"], "wb") as file:
    for row in rows:
        cache = make_prompt_cache(model)
        for chunk in [row[:, :middle], row[:, middle:]]:
            if chunk.size > 0:
                file.write(numpy.array(model(mx.array(chunk), cache=cache)[0]).tobytes())
print(mlx_lm.__version__)
`
