#!/usr/bin/env python3
"""Train the tiny teacher of the tests and write its token data; see README.md beside this file.

  python3 make_tiny_teacher.py [--packages DIR] [--steps N]

Needs torch, transformers, tokenizers and safetensors, and (without --packages, a directory that already holds
the unpacked packages) apt-get and dpkg-deb. Writes teacher/ and corpus/ beside itself.
"""

import argparse
import json
import math
import random
import struct
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

import public_text

HERE = Path(__file__).resolve().parent
END_OF_DOCUMENT = "<|endoftext|>"  # id 0
SEED = 20240819
BATCH, CONTEXT = 16, 256
PEAK_LR = 4e-3
TRAIN_TOKENS, EVAL_TOKENS, OFF_DOMAIN_TOKENS = 130_000, 10_000, 5_000  # committed, at least

ARCHITECTURE = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 512,
    "hidden_size": 64,
    "head_dim": 16,
    "intermediate_size": 160,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "torch_dtype": "float16",
}


def train_tokenizer(documents):
    """Byte-level BPE whose pre-tokenizer is SmolLM2's: single digits, then GPT-2's pattern."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=ARCHITECTURE["vocab_size"], special_tokens=[END_OF_DOCUMENT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def learning_rate(step, steps):
    """Linear warm-up over 5 % of the steps, cosine to a twentieth."""
    warm = max(1, steps // 20)
    if step < warm:
        return PEAK_LR * (step + 1) / warm
    progress = (step - warm) / max(1, steps - warm)
    return PEAK_LR * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


def train(tokens, steps):
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    config = LlamaConfig(**{k: v for k, v in ARCHITECTURE.items() if k != "torch_dtype"}, initializer_range=0.08)
    model = LlamaForCausalLM(config)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}], betas=(0.9, 0.98))
    stream = torch.tensor(tokens)
    windows = torch.arange(CONTEXT)
    begin = time.time()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        ids = stream[torch.randint(len(stream) - CONTEXT, (BATCH, 1)) + windows]
        loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step:5} loss {loss.item():.4f} {time.time() - begin:6.0f} s", flush=True)
    return model


@torch.no_grad()
def perplexity(model, documents):
    """Each document on its own, in windows of CONTEXT; every token but a window's first is predicted."""
    total, count = 0.0, 0
    for document in documents:
        for at in range(0, len(document) - 1, CONTEXT):
            ids = torch.tensor([document[at:at + CONTEXT]])
            if ids.shape[1] < 2:
                continue
            logits = model(input_ids=ids).logits[0, :-1].double()
            total += torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
            count += ids.shape[1] - 1
    return math.exp(total / count)


def unigram_perplexity(documents):
    flat = torch.tensor([t for d in documents for t in d])
    p = torch.bincount(flat).double() / len(flat)
    return math.exp(-(p[p > 0] * p[p > 0].log()).sum().item())


def round_to_half(model):
    """The weights as they are stored, so that what is measured is what is committed."""
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.half().float())


def save_teacher(model, tokenizer, path):
    path.mkdir(parents=True, exist_ok=True)
    weights = {k: v.half().contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    (path / "config.json").write_text(json.dumps(ARCHITECTURE, indent=1) + "\n")
    tokenizer.save(str(path / "tokenizer.json"), pretty=False)


def save_megatron(documents, prefix):
    """Megatron .bin and .idx, version 1, uint16 tokens (data type code 8), one sequence a document."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    lengths = [len(d) for d in documents]
    starts = [2 * sum(lengths[:i]) for i in range(len(lengths))]
    count = len(documents)
    with open(prefix.with_suffix(".bin"), "wb") as file:
        for d in documents:
            file.write(struct.pack(f"<{len(d)}H", *d))
    with open(prefix.with_suffix(".idx"), "wb") as file:
        file.write(b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, count, count + 1))
        file.write(struct.pack(f"<{count}i{count}q{count + 1}q", *lengths, *starts, *range(count + 1)))
    print(f"{prefix}: {count} documents, {sum(lengths)} tokens")


def take(documents, tokens):
    """The first documents that together have at least `tokens` tokens."""
    taken, total = [], 0
    for d in documents:
        if total >= tokens:
            break
        taken.append(d)
        total += len(d)
    return taken


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--packages", type=Path, help="where the packages are unpacked; default: download them")
    arguments.add_argument("--steps", type=int, default=1600)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = options.packages or Path(temporary)
        if not options.packages:
            public_text.fetch(root)
        chapters, entries = public_text.chapters(root), public_text.entries(root)
    shuffle = random.Random(SEED)
    shuffle.shuffle(chapters)
    shuffle.shuffle(entries)
    held_out = len(chapters) // 20

    tokenizer = train_tokenizer(chapters[held_out:])
    encode = lambda texts: [e.ids + [0] for e in tokenizer.encode_batch(texts)]
    evaluation, training, foreign = encode(chapters[:held_out]), encode(chapters[held_out:]), encode(entries)
    print(f"{sum(map(len, training))} training tokens, {sum(map(len, evaluation))} held out")

    model = train([t for d in training for t in d], options.steps)
    round_to_half(model)
    model.eval()
    save_teacher(model, tokenizer, HERE / "teacher")
    committed = {"train": take(training, TRAIN_TOKENS), "eval": take(evaluation, EVAL_TOKENS),
                 "off_domain": take(foreign, OFF_DOMAIN_TOKENS)}
    for name, documents in committed.items():
        save_megatron(documents, HERE / "corpus" / name)
    print(f"unigram perplexity {unigram_perplexity(evaluation):.1f}; all held-out chapters "
          f"{perplexity(model, evaluation):.4f}")
    for name, documents in committed.items():
        print(f"perplexity on corpus/{name}: {perplexity(model, documents):.4f}")


if __name__ == "__main__":
    main()
