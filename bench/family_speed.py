"""The PyTorch side of familySpeed.mjs.

    python family_speed.py FOLDER FAMILY HIDDEN LAYERS VOCABULARY THREADS CLOCK

Makes a checkpoint of FAMILY with random weights in FOLDER/FAMILY unless it is there, loads it once for each way of computing
attention, and prints a line of JSON. Then, for each line of JSON on stdin, the tables of ids that the model takes by their names in
transformers, it runs a forward pass with loss each way and prints seconds and losses. Ends with stdin. Written for torch 2.13 and transformers 5.23.
"""

import json
import os
import sys
import time

import torch
import transformers as t

FOLDER, FAMILY, HIDDEN, LAYERS, VOCABULARY, THREADS = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:7])
now = {"wall": time.perf_counter, "cpu": time.process_time}[sys.argv[7]]
HEADS = HIDDEN // 64
WIDE = 4 * HIDDEN
GATED = 11 * HIDDEN // 4  # about as many parameters as two matrices of WIDE
BASE = dict(vocab_size=VOCABULARY, hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS)
LONG = dict(max_position_embeddings=2048)
LLAMA = dict(**BASE, **LONG, num_key_value_heads=HEADS // 2, intermediate_size=GATED)
GEMMA = dict(**LLAMA, head_dim=64)
SEQ2SEQ = dict(
    vocab_size=VOCABULARY, d_model=HIDDEN, encoder_layers=LAYERS // 2, decoder_layers=LAYERS // 2,
    encoder_attention_heads=HEADS, decoder_attention_heads=HEADS, encoder_ffn_dim=WIDE, decoder_ffn_dim=WIDE,
    max_position_embeddings=2048,
)
T5 = dict(
    vocab_size=VOCABULARY, d_model=HIDDEN, d_kv=64, num_heads=HEADS, num_layers=LAYERS // 2, num_decoder_layers=LAYERS // 2
)

FAMILIES = {
    "llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(**LLAMA)),
    "mistral": lambda: t.MistralForCausalLM(t.MistralConfig(**LLAMA, sliding_window=512)),
    "qwen2": lambda: t.Qwen2ForCausalLM(t.Qwen2Config(**LLAMA)),
    "qwen3": lambda: t.Qwen3ForCausalLM(t.Qwen3Config(**GEMMA)),
    "gemma": lambda: t.GemmaForCausalLM(t.GemmaConfig(**GEMMA)),
    "gemma2": lambda: t.Gemma2ForCausalLM(t.Gemma2Config(**GEMMA, query_pre_attn_scalar=64, sliding_window=512)),
    "gemma3": lambda: t.Gemma3ForCausalLM(t.Gemma3TextConfig(**GEMMA, query_pre_attn_scalar=64, sliding_window=512)),
    "phi": lambda: t.PhiForCausalLM(t.PhiConfig(**BASE, **LONG, intermediate_size=WIDE)),
    "phi3": lambda: t.Phi3ForCausalLM(t.Phi3Config(**LLAMA, pad_token_id=0, original_max_position_embeddings=2048)),
    "gpt2": lambda: t.GPT2LMHeadModel(
        t.GPT2Config(vocab_size=VOCABULARY, n_embd=HIDDEN, n_layer=LAYERS, n_head=HEADS, n_positions=2048)
    ),
    "gpt_neox": lambda: t.GPTNeoXForCausalLM(t.GPTNeoXConfig(**BASE, **LONG, intermediate_size=WIDE)),
    "opt": lambda: t.OPTForCausalLM(t.OPTConfig(**BASE, **LONG, ffn_dim=WIDE, word_embed_proj_dim=HIDDEN)),
    "bloom": lambda: t.BloomForCausalLM(
        t.BloomConfig(vocab_size=VOCABULARY, hidden_size=HIDDEN, n_layer=LAYERS, n_head=HEADS)
    ),
    "falcon": lambda: t.FalconForCausalLM(t.FalconConfig(**BASE, **LONG, ffn_hidden_size=WIDE, bias=False)),
    "bert": lambda: t.BertForMaskedLM(t.BertConfig(**BASE, **LONG, intermediate_size=WIDE)),
    "roberta": lambda: t.RobertaForMaskedLM(t.RobertaConfig(**BASE, **LONG, intermediate_size=WIDE)),
    "distilbert": lambda: t.DistilBertForMaskedLM(
        t.DistilBertConfig(vocab_size=VOCABULARY, dim=HIDDEN, n_layers=LAYERS, n_heads=HEADS, hidden_dim=WIDE, **LONG)
    ),
    "t5": lambda: t.T5ForConditionalGeneration(t.T5Config(**T5, d_ff=WIDE)),
    "flan-t5": lambda: t.T5ForConditionalGeneration(
        t.T5Config(**T5, d_ff=GATED, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    ),
    "bart": lambda: t.BartForConditionalGeneration(t.BartConfig(**SEQ2SEQ)),
    "marian": lambda: t.MarianMTModel(
        t.MarianConfig(**SEQ2SEQ, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, forced_eos_token_id=1)
    ),
}


def main():
    torch.set_num_threads(THREADS)
    t.logging.set_verbosity_error()
    t.utils.logging.disable_progress_bar()
    path = os.path.join(FOLDER, FAMILY)
    if not os.path.exists(os.path.join(path, "model.safetensors")):
        torch.manual_seed(0)
        FAMILIES[FAMILY]().save_pretrained(path)
    with open(os.path.join(path, "config.json")) as file:
        kind = getattr(t, json.load(file)["architectures"][0])
    models = {}
    for attention in ("eager", "sdpa"):
        try:
            model = kind.from_pretrained(path, dtype=torch.float32, attn_implementation=attention).eval()
        except (ValueError, ImportError) as error:
            print(f"{FAMILY}: no {attention} ({str(error).splitlines()[0]})", file=sys.stderr)
            continue
        model.config.use_cache = False
        models[attention] = model
    print(json.dumps({"torch": torch.__version__, "transformers": t.__version__}), flush=True)
    for line in sys.stdin:
        inputs = {name: torch.tensor(table) for name, table in json.loads(line).items()}
        found = {}
        for attention, model in models.items():
            with torch.no_grad():
                begin = now()
                loss = model(**inputs).loss.item()
                found[attention] = {"seconds": now() - begin, "loss": loss}
        print(json.dumps(found), flush=True)


main()
