#!/usr/bin/env python3
"""Write what transformers' Mamba-2 mixer computes, in float32 on the CPU; see README.md beside this file.

  python3 make_mamba2_golden.py

Needs torch, transformers and safetensors.
"""

import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import BambaConfig, DynamicCache
from transformers.models.bamba.modeling_bamba import BambaMixer

HERE = Path(__file__).resolve().parent
HIDDEN, HEADS, HEAD_DIM, STATE, CONV, CHUNK = 32, 4, 16, 8, 4, 8
BATCH, TOKENS, PREFIX = 2, 21, 5


def make_mixer(groups):
    config = BambaConfig(
        vocab_size=8, hidden_size=HIDDEN, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, intermediate_size=8,
        mamba_n_heads=HEADS, mamba_d_head=HEAD_DIM, mamba_expand=HEADS * HEAD_DIM // HIDDEN,
        mamba_d_state=STATE, mamba_n_groups=groups, mamba_d_conv=CONV, mamba_chunk_size=CHUNK,
        mamba_conv_bias=True, mamba_proj_bias=False, hidden_act="silu", rms_norm_eps=1e-5)
    return config, BambaMixer(config, layer_idx=0).eval()


def randomise(mixer):
    """Usual magnitudes: steps dt of 0.02 to 0.5, decay rates of 1 to 16."""
    with torch.no_grad():
        mixer.in_proj.weight.normal_(std=1 / math.sqrt(HIDDEN))
        mixer.out_proj.weight.normal_(std=1 / math.sqrt(HEADS * HEAD_DIM))
        mixer.conv1d.weight.normal_(std=0.5)
        mixer.conv1d.bias.normal_(std=0.2)
        mixer.norm.weight.normal_(mean=1, std=0.2)
        mixer.D.normal_(mean=1, std=0.3)
        mixer.A_log.copy_(torch.empty(HEADS).uniform_(1, 16).log())
        dt = torch.empty(HEADS).uniform_(math.log(0.02), math.log(0.5)).exp()
        mixer.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))


@torch.no_grad()
def run_recurrent(config, mixer, x):
    """The first PREFIX tokens in one call, then one token a call; returns outputs and the last states."""
    cache = DynamicCache(config=config)
    outputs = [mixer(x[:, :PREFIX], cache_params=cache)]
    for t in range(PREFIX, x.shape[1]):
        outputs.append(mixer(x[:, t:t + 1], cache_params=cache))
    return {"y_recurrent": torch.cat(outputs, dim=1),
            "final_state": cache.get_recurrent_state(0, state_idx=0).clone(),
            "final_conv": cache.get_conv_state(0, state_idx=0).clone()}


def run(config, mixer, x, r):
    x = x.clone().requires_grad_()
    mixer.zero_grad()
    y = mixer(x)
    (y * r).sum().backward()
    tensors = {"x": x.detach(), "r": r, "y": y.detach(), "grad.x": x.grad}
    for name, parameter in mixer.named_parameters():
        tensors[name] = parameter.detach().clone()
        tensors[f"grad.{name}"] = parameter.grad.clone()
    tensors |= run_recurrent(config, mixer, x.detach())
    gap = (tensors["y"] - tensors["y_recurrent"]).abs().max().item()
    print(f"  |y| {y.std().item():.3f}, recurrent form differs by {gap:.1e}")
    return tensors


def main():
    torch.set_num_threads(1)
    for groups in (1, 2):
        torch.manual_seed(groups)
        config, mixer = make_mixer(groups)
        randomise(mixer)
        x, r = torch.randn(BATCH, TOKENS, HIDDEN), torch.randn(BATCH, TOKENS, HIDDEN)
        path = HERE / f"groups{groups}.safetensors"
        tensors = run(config, mixer, x, r)
        save_file({k: v.contiguous() for k, v in tensors.items()}, path)
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
