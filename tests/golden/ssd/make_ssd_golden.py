#!/usr/bin/env python3
"""Write what Mamba-2's published minimal SSD computes, with gradients; see README.md beside this file.

  python3 make_ssd_golden.py MAMBA

MAMBA is a checkout of github.com/state-spaces/mamba. Needs torch, einops and safetensors.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
BATCH, TOKENS, HEADS, WIDTH, STATE, CHUNK = 1, 64, 3, 16, 16, 16


def load_ssd_minimal_discrete(checkout):
    source = (Path(checkout) / "mamba_ssm/modules/ssd_minimal.py").read_text()
    lines = [line for line in source.splitlines() if "mamba_ssm.ops.triton" not in line]  # needs a GPU
    module = {}
    exec("\n".join(lines), module)
    return module["ssd_minimal_discrete"]


def main():
    ssd = load_ssd_minimal_discrete(sys.argv[1])
    torch.manual_seed(11)
    inputs = {
        "x": torch.randn(BATCH, TOKENS, HEADS, WIDTH),
        "log_decay": -torch.nn.functional.softplus(2 * torch.randn(BATCH, TOKENS, HEADS)),
        "b": torch.randn(BATCH, TOKENS, HEADS, STATE),
        "c": torch.randn(BATCH, TOKENS, HEADS, STATE),
        "initial_state": torch.randn(BATCH, HEADS, WIDTH, STATE),
    }
    leaves = {name: value.double().requires_grad_() for name, value in inputs.items()}
    y, final_state = ssd(leaves["x"], leaves["log_decay"], leaves["b"], leaves["c"], CHUNK,
                         initial_states=leaves["initial_state"][:, None])
    r, s = torch.randn(y.shape), torch.randn(final_state.shape)
    ((y * r).sum() + (final_state * s).sum()).backward()
    arrays = dict(inputs, y=y, final_state=final_state, r=r, s=s)
    arrays |= {f"grad.{name}": leaf.grad for name, leaf in leaves.items()}
    save_file({name: value.detach().float().contiguous() for name, value in arrays.items()},
              HERE / "ssd_minimal.safetensors")


main()
