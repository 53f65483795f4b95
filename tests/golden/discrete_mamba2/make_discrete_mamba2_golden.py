#!/usr/bin/env python3
"""Write what the discrete Mamba-2 mixer of Phi-Mamba computes, token by token in float64; see README.md beside this file.

  python3 make_discrete_mamba2_golden.py

Needs torch and safetensors.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
BATCH, TOKENS, HIDDEN = 2, 21, 32
HEADS, WIDTH, STATE, TAPS = 4, 8, 16, 4  # H, P, N, K
INNER = HEADS * WIDTH


def random_weights(groups):
    """In the layout of goombalab/phi-mamba: in_proj and conv1d hold x, B, C together, then z, then a."""
    channels = INNER + 2 * groups * STATE
    return {
        "in_proj.weight": torch.randn(channels + INNER + HEADS, HIDDEN) * 1.5 / math.sqrt(HIDDEN),
        "conv1d.weight": torch.randn(channels, 1, TAPS) * 0.5,
        "conv1d.bias": torch.randn(channels) * 0.3,
        "z_bias": torch.randn(INNER) * 0.5,
        "D": torch.randn(HEADS),
        "out_proj.weight": torch.randn(HIDDEN, INNER) / math.sqrt(INNER),
    }


def split_heads(x, heads):
    return x.unflatten(-1, (heads, -1))


def mixer(u, w, groups):
    """Returns the output, the mixing matrices [B, H, T, T], the convolved x and the final states."""
    channels = INNER + 2 * groups * STATE
    projected = u @ w["in_proj.weight"].T
    before, z, a = projected.split([channels, INNER, HEADS], -1)
    padded = F.pad(before, (0, 0, TAPS - 1, 0))
    after = w["conv1d.bias"] + sum(padded[:, k:k + TOKENS] * w["conv1d.weight"][:, 0, k] for k in range(TAPS))
    x, b, c = after.split([INNER, groups * STATE, groups * STATE], -1)
    x = split_heads(x, HEADS)
    b, c = (split_heads(rows, groups).repeat_interleave(HEADS // groups, 2) for rows in (b, c))
    decay = torch.sigmoid(-a)  # exp(-softplus(a))
    state = torch.zeros(BATCH, HEADS, WIDTH, STATE, dtype=u.dtype)
    outputs = []
    for t in range(TOKENS):
        state = decay[:, t, :, None, None] * state + x[:, t, :, :, None] * b[:, t, :, None, :]
        outputs.append((state * c[:, t, :, None, :]).sum(-1) + w["D"][:, None] * x[:, t])
    y = torch.stack(outputs, 1).flatten(2)
    matrix = torch.zeros(BATCH, HEADS, TOKENS, TOKENS, dtype=u.dtype)
    for i in range(TOKENS):
        for j in range(i + 1):
            passed = decay[:, j + 1:i + 1].prod(1)
            matrix[:, :, i, j] = (c[:, i] * b[:, j]).sum(-1) * passed + (w["D"] if i == j else 0)
    out = (y * F.silu(z + w["z_bias"])) @ w["out_proj.weight"].T
    return out, matrix, x, state, before[:, -(TAPS - 1):]


def write(groups):
    torch.manual_seed(groups)
    weights = {k: v.double().requires_grad_() for k, v in random_weights(groups).items()}
    u = torch.randn(BATCH, TOKENS, HIDDEN, dtype=torch.float64, requires_grad=True)
    r = torch.randn(BATCH, TOKENS, HIDDEN, dtype=torch.float64)
    out, matrix, x, state, conv_state = mixer(u, weights, groups)
    (out * r).sum().backward()
    arrays = {"u": u, "r": r, "out": out, "matrix": matrix, "x": x, "ssm_state": state, "conv_state": conv_state,
              "grad.u": u.grad} | weights | {f"grad.{k}": v.grad for k, v in weights.items()}
    path = HERE / f"groups{groups}.safetensors"
    save_file({k: v.detach().float().contiguous() for k, v in arrays.items()}, path)
    print(path.name, path.stat().st_size, "bytes")


if __name__ == "__main__":
    for groups in (HEADS, 2):
        write(groups)
