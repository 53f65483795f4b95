#!/usr/bin/env python3
"""Writes small .bin/.idx pairs byte for byte as Megatron-LM's IndexedDatasetBuilder does
(megatron/core/datasets/indexed_dataset.py), for train/data/indexed_dataset_test.cc.

    python make_indexed_dataset_golden.py    # in this directory; needs the standard library only

  short.bin/.idx  uint16; four documents of one sequence each, the third one empty
  parts.bin/.idx  int32; two documents, of two sequences and of one
"""
import struct
from pathlib import Path

HERE = Path(__file__).parent
CODES = {"i": 4, "H": 8}                                  # struct letter -> Megatron's DType code


def write(name, letter, documents):
    sequences = [sequence for document in documents for sequence in document]
    sizes = [len(sequence) for sequence in sequences]
    pointers, starts = [], [0]
    at = 0
    for size in sizes:
        pointers.append(at)
        at += size * struct.calcsize(letter)
    for document in documents:
        starts.append(starts[-1] + len(document))
    (HERE / f"{name}.bin").write_bytes(b"".join(struct.pack(f"<{len(s)}{letter}", *s) for s in sequences))
    (HERE / f"{name}.idx").write_bytes(
        b"MMIDIDX\x00\x00" + struct.pack("<Q", 1) + struct.pack("<B", CODES[letter])
        + struct.pack("<Q", len(sizes)) + struct.pack("<Q", len(starts))
        + struct.pack(f"<{len(sizes)}i", *sizes) + struct.pack(f"<{len(pointers)}q", *pointers)
        + struct.pack(f"<{len(starts)}q", *starts))


write("short", "H", [[[1, 2, 3]], [[65498, 0]], [[]], [[7]]])
write("parts", "i", [[[1, 70000, 3], [4]], [[5, 6]]])
