#!/usr/bin/env python3
"""Write what parts of transformers' Mamba-2 mixer compute, in float32 on the CPU; see README.md beside this file.

  python3 make_mamba2_parts_golden.py

Needs torch, transformers and safetensors.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import Mamba2Config
from transformers.models.mamba2.modeling_mamba2 import MambaRMSNormGated, Mamba2Mixer

HERE = Path(__file__).resolve().parent
BATCH, TOKENS = 2, 37


def save(name, tensors):
    path = HERE / f"{name}.safetensors"
    save_file({key: value.detach().contiguous() for key, value in tensors.items()}, path)
    print(f"{path.name}: {path.stat().st_size} bytes")


def make_conv():
    """The mixer's own depthwise convolution with its activation, as its torch_forward applies them."""
    torch.manual_seed(1)
    config = Mamba2Config(hidden_size=16, num_heads=4, head_dim=8, expand=2, state_size=4, n_groups=1,
                          conv_kernel=4, use_conv_bias=True, hidden_act="silu")
    mixer = Mamba2Mixer(config, layer_idx=0)
    with torch.no_grad():
        mixer.conv1d.weight.normal_(std=0.5)
        mixer.conv1d.bias.normal_(std=0.2)
    x = torch.randn(BATCH, TOKENS, mixer.conv_dim).requires_grad_()
    r = torch.randn(BATCH, TOKENS, mixer.conv_dim)
    y = mixer.act(mixer.conv1d(x.transpose(1, 2))[..., :TOKENS].transpose(1, 2))
    (y * r).sum().backward()
    save("conv1d", {"x": x, "r": r, "y": y, "weight": mixer.conv1d.weight.squeeze(1), "bias": mixer.conv1d.bias,
                    "grad.x": x.grad, "grad.weight": mixer.conv1d.weight.grad.squeeze(1),
                    "grad.bias": mixer.conv1d.bias.grad})


def make_norm(groups):
    torch.manual_seed(2)
    width = 40
    norm = MambaRMSNormGated(width, group_size=width // groups, eps=1e-5)
    with torch.no_grad():
        norm.weight.normal_(mean=1, std=0.2)
    x = torch.randn(BATCH, TOKENS, width).requires_grad_()
    z = torch.randn(BATCH, TOKENS, width).requires_grad_()
    r = torch.randn(BATCH, TOKENS, width)
    y = norm(x, z)
    (y * r).sum().backward()
    save(f"gated_norm_groups{groups}",
         {"x": x, "z": z, "r": r, "y": y, "weight": norm.weight, "grad.x": x.grad, "grad.z": z.grad,
          "grad.weight": norm.weight.grad})


def main():
    torch.set_num_threads(1)
    make_conv()
    for groups in (1, 2):
        make_norm(groups)


if __name__ == "__main__":
    main()
