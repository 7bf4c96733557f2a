"""What transformers computes on given rows: python score_rows.py MODEL ROWS.json, where ROWS.json has ids, lengths and, to predict,
targets (-1: nothing) or decoder { ids, targets }. Prints JSON: the mean `loss` in nats a prediction and the final hidden states' mean
over each row's tokens, normalised, as `embeddings`. Written for torch 2.13.0 and transformers 5.23.0."""
import json
import sys
import torch
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

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
    else:
        hidden = AutoModel.from_pretrained(model_path, dtype=torch.float32).eval()(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).float()
        mean = (hidden * weights).sum(1) / weights.sum(1)
        result['embeddings'] = torch.nn.functional.normalize(mean, dim=1).tolist()
print(json.dumps(result))
