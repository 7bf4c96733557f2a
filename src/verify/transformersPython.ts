import { scoreInChild } from './childProcess.ts'
import type { Consumer } from './consumer.ts'

/** What the Python program ends with where its libraries are missing. */
const skipCode = 77

/** transformers in Python, where `BLOCKPRUNER_PYTHON` or `PYTHON` names an interpreter that has it, or python3 on the PATH does. */
export const transformersPython: Consumer = {
  name: 'transformers (Python)',
  formats: ['huggingface'],
  async score(request) {
    const python = process.env['BLOCKPRUNER_PYTHON'] || process.env['PYTHON'] || 'python3'
    const scored = await scoreInChild(python, ['-c', program], request, { skipCode })
    const isMissing = 'failed' in scored && /ENOENT|code 127/.test(scored.failed)
    return isMissing ? { skipped: `${python} is not installed; BLOCKPRUNER_PYTHON names another interpreter` } : scored
  },
}

/** Loads in float32, scores in two chunks: the second shows whether each attention found its own place in the cache. */
const program = `
import json, os, sys
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
try:
    import torch, transformers
except ImportError as error:
    print(f"{error.name} is not installed in {sys.executable}: pip install torch transformers")
    sys.exit(${skipCode})
if tuple(int(part) for part in transformers.__version__.split(".")[:2]) < (4, 57):
    print(f"transformers {transformers.__version__} is installed, older than 4.57, the first that was tried")
    sys.exit(${skipCode})
request = json.load(sys.stdin)
model = transformers.AutoModelForCausalLM.from_pretrained(
    request["path"], dtype=torch.float32, trust_remote_code=True, local_files_only=True
).eval()
length = request["rowLength"]
middle = (length + 1) // 2
ids = torch.tensor(request["ids"]).reshape(request["rows"], length)
with torch.no_grad(), open(request["output"], "wb") as file:
    for row in ids:
        first = model(row[None, :middle], use_cache=True)
        file.write(first.logits[0].float().numpy().tobytes())
        if middle < length:
            second = model(row[None, middle:], past_key_values=first.past_key_values, use_cache=True)
            file.write(second.logits[0].float().numpy().tobytes())
print(f"{transformers.__version__}, torch {torch.__version__}")
`
