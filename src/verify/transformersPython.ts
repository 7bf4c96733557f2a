import type { Consumer } from './consumer.ts'
import { scoreInPython, skipCode } from './python.ts'

/** transformers in Python. */
export const transformersPython: Consumer = {
  name: 'transformers (Python)',
  formats: ['huggingface'],
  score: (request) => scoreInPython(program, request),
}

/**
 * Loads in float32; decoders score in two chunks: the second shows whether each attention found its own place in the cache.
 * A form of ours that has no code for transformers is read by this package alone.
 */
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
kind = request["prediction"]
classes = {
    "nextToken": "AutoModelForCausalLM",
    "targetToken": "AutoModelForSeq2SeqLM",
    "maskedToken": "AutoModelForMaskedLM",
    "tokenClass": "AutoModelForTokenClassification",
    "rowClass": "AutoModelForSequenceClassification",
    "hiddenState": "AutoModel",
}
with open(os.path.join(request["path"], "config.json")) as file:
    config = json.load(file)
if config.get("model_type") == "blockpruner" and classes[kind] not in config.get("auto_map", {}):
    print(f"the export has no code for {classes[kind]}")
    sys.exit(${skipCode})
model = getattr(transformers, classes[kind]).from_pretrained(
    request["path"], dtype=torch.float32, trust_remote_code=True, local_files_only=True
).eval()
decoder = request.get("decoder")


def rows_of(part):
    return torch.tensor(part["ids"]).reshape(-1, 1, part["rowLength"])


def in_two_chunks(targets, score):
    middle = (targets.shape[1] + 1) // 2
    first = score(targets[:, :middle], None)
    if middle == targets.shape[1]:
        return [first.logits]
    return [first.logits, score(targets[:, middle:], first.past_key_values).logits]


with torch.no_grad(), open(request["output"], "wb") as file:
    for number, ids in enumerate(rows_of(request)):
        mask = (torch.arange(ids.shape[1]) < request["lengths"][number]).long()[None]
        if kind == "nextToken":
            parts = in_two_chunks(ids, lambda chunk, past: model(chunk, past_key_values=past, use_cache=True))
        elif kind == "targetToken":
            encoded = model.get_encoder()(input_ids=ids, attention_mask=mask)
            parts = in_two_chunks(
                rows_of(decoder)[number],
                lambda chunk, past: model(
                    encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=chunk, past_key_values=past, use_cache=True
                ),
            )
        else:
            scored = model(input_ids=ids, attention_mask=mask)
            parts = [scored.last_hidden_state if kind == "hiddenState" else scored.logits]
        for part in parts:
            file.write(part[0].float().numpy().tobytes())
print(f"{transformers.__version__}, torch {torch.__version__}")
`
