"""What transformers computes on given rows: python score_rows.py MODEL ROWS.json, where ROWS.json has ids, lengths and, to predict,
targets (-1: nothing), decoder { ids, targets } or nextToken. Prints JSON: the mean `loss` in nats a prediction, or the mean of the
final hidden states of each row, read alone and without padding, normalised, as `embeddings`. Written for torch 2.13.0 and
transformers 5.23.0."""
import json
import sys
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

model_path, rows_path = sys.argv[1:]
rows = json.load(open(rows_path))
ids = torch.tensor(rows['ids'])
mask = (torch.arange(ids.shape[1])[None] < torch.tensor(rows['lengths'])[:, None]).long()
config = AutoConfig.from_pretrained(model_path)


def loss_of(logits, targets):
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(targets).flatten(), ignore_index=-1).item()


result = {}
with torch.no_grad():
    if 'decoder' in rows:
        model = AutoModelForSeq2SeqLM.from_pretrained(model_path, dtype=torch.float32).eval()
        output = model(input_ids=ids, attention_mask=mask, decoder_input_ids=torch.tensor(rows['decoder']['ids']))
        result['loss'] = loss_of(output.logits, rows['decoder']['targets'])
    elif 'targets' in rows:
        model = AutoModelForMaskedLM.from_pretrained(model_path, dtype=torch.float32).eval()
        result['loss'] = loss_of(model(input_ids=ids, attention_mask=mask).logits, rows['targets'])
    elif rows.get('nextToken'):
        model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32).eval()
        result['loss'] = loss_of(model(input_ids=ids).logits[:, :-1], [row[1:] for row in rows['ids']])
    else:
        model = AutoModel.from_pretrained(model_path, dtype=torch.float32).eval()
        means = [model(input_ids=ids[i : i + 1, :n]).last_hidden_state.mean(1) for i, n in enumerate(rows['lengths'])]
        result['embeddings'] = torch.nn.functional.normalize(torch.cat(means), dim=1).tolist()
print(json.dumps(result))
