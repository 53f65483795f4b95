#!/usr/bin/env python3
"""Write what transformers computes for a small random model of each family of teachers; see README.md beside this file.

  python3 make_teachers_golden.py

Needs torch, transformers and safetensors. float32 on the CPU, eager attention.
"""

import importlib
import json
import math
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

HERE = Path(__file__).resolve().parent

COMMON = {"num_hidden_layers": 2, "vocab_size": 64, "max_position_embeddings": 128, "bos_token_id": 1}
# What each directory is for is in README.md. Key spellings are those of published checkpoints, old and new.
CASES = {
    "phi": dict(tokens=12, signals=True, dtype=torch.bfloat16, config={
        "architectures": ["PhiForCausalLM"], "model_type": "phi", "vocab_size": 512, "hidden_size": 32,
        "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": None,
        "max_position_embeddings": 256, "partial_rotary_factor": 0.5, "rope_theta": 10000.0, "rope_scaling": None,
        "qk_layernorm": False, "hidden_act": "gelu_new", "layer_norm_eps": 1e-5, "tie_word_embeddings": False,
        "embd_pdrop": 0.0, "resid_pdrop": 0.0, "eos_token_id": 0, "torch_dtype": "bfloat16"}),
    "phi_two_fifths_turn": dict(tokens=24, dtype=torch.bfloat16, config={
        "architectures": ["PhiForCausalLM"], "model_type": "phi", "hidden_size": 40, "intermediate_size": 24,
        "num_attention_heads": 4, "num_key_value_heads": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0, "partial_rotary_factor": 0.4},
        "qk_layernorm": False, "hidden_act": "gelu_new", "layer_norm_eps": 1e-5, "tie_word_embeddings": False,
        "eos_token_id": 0, "dtype": "bfloat16"}),
    "llama3": dict(tokens=100, dtype=torch.bfloat16, config={
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 24,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "rms_norm_eps": 1e-5, "rope_theta": 100.0,
        "rope_scaling": {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                         "original_max_position_embeddings": 64, "rope_type": "llama3"},
        "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "pretraining_tp": 1,
        "tie_word_embeddings": True, "eos_token_id": [2, 3], "torch_dtype": "bfloat16"}),
    "qwen2": dict(tokens=24, dtype=torch.bfloat16, config={
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 16, "intermediate_size": 24,
        "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
        "hidden_act": "silu", "use_sliding_window": False, "sliding_window": 8, "max_window_layers": 1,
        "tie_word_embeddings": True, "eos_token_id": 2, "torch_dtype": "bfloat16"}),
    "qwen3": dict(tokens=24, dtype=torch.float32, config={
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 24, "intermediate_size": 24,
        "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 16, "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}, "hidden_act": "silu",
        "attention_bias": False, "layer_types": ["full_attention", "full_attention"], "use_sliding_window": False,
        "sliding_window": None, "max_window_layers": 2, "tie_word_embeddings": False, "eos_token_id": 2,
        "dtype": "float32"}),
    "mistral": dict(tokens=24, dtype=torch.bfloat16, config={
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_size": 16, "intermediate_size": 24,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "hidden_act": "silu", "sliding_window": None, "tie_word_embeddings": False, "eos_token_id": 2,
        "torch_dtype": "bfloat16"}),
}


class Recorder:
    """Collects the signals of one forward pass under the names README.md gives."""

    def __init__(self, model):
        self.tensors = {}
        self._module = importlib.import_module(type(model).__module__)
        self._eager = self._module.eager_attention_forward
        self._module.eager_attention_forward = self._attention
        for index, layer in enumerate(model.model.layers):
            layer.register_forward_pre_hook(self._keep_input(index), with_kwargs=True)
            layer.register_forward_hook(self._keep(f"layers.{index}.output"))
            layer.self_attn.register_forward_hook(self._keep(f"layers.{index}.mixer"))

    def close(self):
        self._module.eager_attention_forward = self._eager

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
        scores = query @ key.repeat_interleave(module.num_key_value_groups, 1).transpose(2, 3) * scaling
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        self.tensors[f"{at}.q"], self.tensors[f"{at}.k"] = query.clone(), key.clone()
        self.tensors[f"{at}.lse"] = scores.masked_fill(future, -math.inf).logsumexp(-1)
        return self._eager(module, query, key, value, attention_mask, scaling=scaling, **kwargs)


def randomise(model):
    """Weights large enough that attention is not uniform and every norm's weight and every bias matters."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape)
            if "embed_tokens" in name:
                weight.copy_(noise)
            elif weight.dim() == 2:
                weight.copy_(noise * 1.5 / math.sqrt(weight.shape[1]))
            else:
                weight.copy_(0.3 * noise + (1.0 if name.endswith("weight") else 0.0))


def write_case(name, tokens, dtype, config, seed, signals=False):
    path = HERE / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    torch.manual_seed(seed)
    config = COMMON | config
    (path / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    loaded = AutoConfig.from_pretrained(path)
    model = AutoModelForCausalLM.from_config(loaded, attn_implementation="eager").to(torch.float32)
    randomise(model)
    weights = {k: v.to(dtype).contiguous() for k, v in model.named_parameters()}
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    ids = torch.randint(config["vocab_size"], (1, tokens))
    recorder = Recorder(model)
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    recorder.close()
    arrays = {"ids": ids, "logits": logits, **(recorder.tensors if signals else {})}
    save_file({k: v.contiguous() for k, v in arrays.items()}, path / "golden.safetensors")
    print(name, sum(f.stat().st_size for f in path.iterdir()), "bytes")


def main():
    torch.set_num_threads(1)
    for seed, (name, case) in enumerate(CASES.items(), start=1):
        write_case(name, seed=seed, **case)


if __name__ == "__main__":
    main()
