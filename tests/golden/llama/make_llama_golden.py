#!/usr/bin/env python3
"""Write what transformers computes for small Llama models, in float32 on the CPU; see README.md beside this file.

  python3 make_llama_golden.py

Needs torch, transformers and safetensors, and the tiny teacher (../tiny).
"""

import json
import math
import shutil
import struct
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaForCausalLM
from transformers.models.llama import modeling_llama

HERE = Path(__file__).resolve().parent
TINY = HERE.parent / "tiny"

COMMON = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "hidden_act": "silu",
    "mlp_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# What each directory is for is in README.md. `dtype` and `shards` say how the weights are stored.
CASES = {
    "untied_mha": dict(
        dtype=torch.float32, shards=1,
        config={"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "rope_scaling": None, "attention_bias": False,
                "tie_word_embeddings": False, "torch_dtype": "float32"}),
    "gqa_wide_heads_bf16": dict(
        dtype=torch.bfloat16, shards=1,
        config={"num_key_value_heads": 1, "head_dim": 8, "rms_norm_eps": 1e-5,
                "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0}, "attention_bias": False,
                "tie_word_embeddings": True, "dtype": "bfloat16"}),
    "sharded_gqa": dict(
        dtype=torch.float32, shards=2,
        config={"num_key_value_heads": 2, "head_dim": 4, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
                "tie_word_embeddings": True, "torch_dtype": "float32"}),
}


class Recorder:
    """Collects the teacher signals of one forward pass under the names README.md gives."""

    def __init__(self, model):
        self.tensors = {}
        self._eager = modeling_llama.eager_attention_forward
        modeling_llama.eager_attention_forward = self._attention
        for index, layer in enumerate(model.model.layers):
            layer.register_forward_pre_hook(self._keep_input(index), with_kwargs=True)
            layer.register_forward_hook(self._keep(f"layers.{index}.output"))
            layer.self_attn.register_forward_hook(self._keep(f"layers.{index}.mixer"))

    def close(self):
        modeling_llama.eager_attention_forward = self._eager

    def _keep_input(self, index):
        def hook(_, args, kwargs):
            self.tensors[f"layers.{index}.input"] = (args or [kwargs["hidden_states"]])[0].clone()
        return hook

    def _keep(self, name):
        def hook(_, __, output):
            self.tensors[name] = (output[0] if isinstance(output, tuple) else output).clone()
        return hook

    def _attention(self, module, query, key, value, attention_mask, scaling, **kwargs):
        at = f"layers.{module.layer_idx}"
        scores = query @ modeling_llama.repeat_kv(key, module.num_key_value_groups).transpose(2, 3) * scaling
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        self.tensors[f"{at}.q"], self.tensors[f"{at}.k"] = query.clone(), key.clone()
        self.tensors[f"{at}.lse"] = scores.masked_fill(future, -math.inf).logsumexp(-1)
        return self._eager(module, query, key, value, attention_mask, scaling=scaling, **kwargs)


def load(path):
    model = LlamaForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def save(tensors, path):
    save_file({k: v.contiguous() for k, v in tensors.items()}, path)
    print(f"{path.relative_to(HERE)}: {path.stat().st_size} bytes")


def write_tiny_teacher():
    """All signals of the tiny teacher on the beginnings of two held-out documents."""
    model = load(TINY / "teacher")
    raw = (TINY / "corpus" / "eval.bin").read_bytes()
    index = (TINY / "corpus" / "eval.idx").read_bytes()
    second = struct.unpack_from("<i", index, 34)[0]  # behind the header stand the documents' lengths
    tokens = struct.unpack(f"<{len(raw) // 2}H", raw)
    ids = torch.tensor([tokens[:48], tokens[second:second + 48]])
    recorder = Recorder(model)
    with torch.no_grad():
        output = model(input_ids=ids, output_hidden_states=True)
    recorder.close()
    for layer in range(model.config.num_hidden_layers):
        assert torch.equal(recorder.tensors[f"layers.{layer}.input"], output.hidden_states[layer])
    save({"ids": ids, "logits": output.logits, **recorder.tensors}, HERE / "tiny_teacher.safetensors")


def random_weights(config):
    """Weights large enough that attention is not uniform and every norm's weight matters."""
    hidden, mlp = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim", hidden // heads)
    kv = config.get("num_key_value_heads", heads) * head_dim
    matrix = lambda rows, columns: torch.randn(rows, columns) * 1.5 / math.sqrt(columns)
    norm = lambda: 1 + 0.3 * torch.randn(hidden)
    weights = {"model.embed_tokens.weight": torch.randn(config["vocab_size"], hidden)}
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        weights |= {
            f"{at}.input_layernorm.weight": norm(),
            f"{at}.self_attn.q_proj.weight": matrix(heads * head_dim, hidden),
            f"{at}.self_attn.k_proj.weight": matrix(kv, hidden),
            f"{at}.self_attn.v_proj.weight": matrix(kv, hidden),
            f"{at}.self_attn.o_proj.weight": matrix(hidden, heads * head_dim),
            f"{at}.post_attention_layernorm.weight": norm(),
            f"{at}.mlp.gate_proj.weight": matrix(mlp, hidden),
            f"{at}.mlp.up_proj.weight": matrix(mlp, hidden),
            f"{at}.mlp.down_proj.weight": matrix(hidden, mlp),
        }
    weights["model.norm.weight"] = norm()
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = matrix(config["vocab_size"], hidden)
    return weights


def save_weights(weights, shards, path):
    metadata = {"format": "pt"}
    if shards == 1:
        save_file(weights, path / "model.safetensors", metadata)
        return
    files = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    names = list(weights)
    where = {name: files[i * shards // len(names)] for i, name in enumerate(names)}
    for file in files:
        save_file({n: weights[n] for n in names if where[n] == file}, path / file, metadata)
    total = sum(w.numel() * w.element_size() for w in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (path / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def write_case(name, dtype, shards, config, seed):
    path = HERE / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    torch.manual_seed(seed)
    config = COMMON | config
    weights = {k: v.to(dtype) for k, v in random_weights(config).items()}
    save_weights(weights, shards, path)
    (path / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    ids = torch.randint(config["vocab_size"], (2, 20))
    with torch.no_grad():
        logits = load(path)(input_ids=ids).logits
    save({"ids": ids, "logits": logits}, path / "golden.safetensors")


def main():
    torch.set_num_threads(1)
    write_tiny_teacher()
    for seed, (name, case) in enumerate(CASES.items(), start=1):
        write_case(name, seed=seed, **case)


if __name__ == "__main__":
    main()
