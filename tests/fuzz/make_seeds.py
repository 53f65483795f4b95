#!/usr/bin/env python3
"""Writes the fuzz targets' first inputs, small ones that their parsers accept, to seeds/TARGET beside this script.

    python3 make_seeds.py        # zstd's come from the program of that name
"""
import gzip
import json
import struct
import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def write(target, name, contents):
    path = HERE / "seeds" / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents if isinstance(contents, bytes) else contents.encode())


def token(number, content, **flags):
    return {"id": number, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": False, **flags}


def tokenizers():
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    split = {"type": "Split", "pattern": {"Regex": r"\p{N}{1,3}| ?[^\s\p{L}]+|\s+(?!\S)"}, "behavior": "Isolated",
             "invert": False}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "ignore_merges": True,
             "vocab": {"a": 0, "b": 1, "\u0120": 2, "ab": 3, "\u0120ab": 4, "<s>": 5}, "merges": ["a b", ["\u0120", "ab"]]}
    bytes_json = {"version": "1.0", "truncation": None, "padding": None,
                  "added_tokens": [token(5, "<s>", special=True, lstrip=True), token(6, "word", single_word=True)],
                  "normalizer": {"type": "NFC"}, "decoder": byte_level, "model": model,
                  "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, byte_level]}, "post_processor": None}
    yield "bytes", bytes_json
    yield "split", {**bytes_json, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]}}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    names = {f"<0x{byte:02X}>": byte + 6 for byte in (0x62, 0xC3, 0xA9)}
    pieces = {**bytes_json, "added_tokens": [token(5, "<s>", normalized=True, rstrip=True)], "pre_tokenizer": None,
              "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, replace]},
              "model": {"type": "BPE", "unk_token": "<s>", "fuse_unk": True, "byte_fallback": True,
                        "vocab": {"a": 0, "\u2581": 1, "\u2581a": 2, "<s>": 5, **names}, "merges": ["\u2581 a"]},
              "post_processor": {"type": "TemplateProcessing", "special_tokens": {"<s>": {"id": "<s>", "ids": [5]}},
                                 "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]},
              "decoder": {"type": "Sequence", "decoders": [
                  {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
                  {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}}
    yield "pieces", pieces
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True}
    yield "metaspace", {**pieces, "normalizer": None, "pre_tokenizer": metaspace, "decoder": metaspace}


def safetensors(header, data):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def pair(code, sizes, entries, data):
    width = {4: 4, 8: 2}[code]
    offsets = [sum(sizes[:i]) * width for i in range(len(sizes))]
    index = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, code, len(sizes), len(entries))
    index += struct.pack(f"<{len(sizes)}i{len(sizes)}q{len(entries)}q", *sizes, *offsets, *entries)
    return struct.pack("<H", len(index)) + index + data


def configs():
    phi = {"model_type": "phi", "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
           "num_attention_heads": 2, "partial_rotary_factor": 0.5, "eos_token_id": [2, 7]}
    yield "phi", phi
    rope = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16}
    yield "qwen", {**phi, "model_type": "qwen2", "num_key_value_heads": 1, "partial_rotary_factor": 1.0,
                   "use_sliding_window": True, "sliding_window": 4096, "max_position_embeddings": 64,
                   "rope_scaling": rope}
    mixer = {"heads": 2, "head_dim": 8, "state_size": 4, "groups": 1, "conv_kernel": 4}
    yield "student", {**phi, "model_type": "retort_hybrid", "base_model_type": "phi",
                      "layer_types": ["attention", "discrete_mamba2"], "discrete_mamba2": mixer}


def run_files():
    student = {"perplexity": 30.0, "tokens": 9, "kl": 0.5, "top1_agreement": 0.25, "hidden_distance": [0.0, None],
               "off_domain": {"perplexity": 40.0, "tokens": 9}}
    stage = {"name": "end_to_end", "tokens": 64, "seconds": 1.5, "loss_first": 4.5, "loss_last": None, "student": student}
    job = {"teacher": {"path": "t"}, "student": {"mixer": "MIXER_KIND_MAMBA2"}}
    result = {"job": "a", "seconds": 2.5, "peak_memory_bytes": 1024, "layer_types": ["attention", "mamba2"],
              "versions": {"retort": "0"}, "host": {"processor": "p", "cores": 2, "kernel": "k"},
              "identity": {"job": job, "teacher_sha256": "a", "data_sha256": {"x.bin": "b"}, "threads": 1,
                           "compute_path": "avx2", "version": "0"},
              "teacher": {"perplexity": 20.0, "tokens": 9}, "initial": student, "student": student, "stages": [stage],
              "tokens_per_second": {"end_to_end": 42.5}}
    shown = {"architecture": {"hidden_size": 8, "heads": 2, "kv_heads": 1, "vocab_size": 9, "teacher_parameters": 99,
                              "student_parameters": 99},
             "matrices": {"layer": 1, "head": 0, "teacher": [1, 0.5, 0.5],
                          "students": [{"after": "untrained", "values": [1, None, -2e9]}]},
             "samples": [{"prompt": "a", "teacher": "b", "student": "c"}]}
    metrics = "".join(json.dumps({"stage": name, "step": step, "layer": layer, "loss": loss}) + "\n"
                      for name, step, layer, loss in (("end_to_end", 1, None, 4.5), ("end_to_end", 2, None, None)))
    return "\n---\n".join((json.dumps(result), json.dumps(shown), metrics))


def main():
    for name, config in configs():
        write("model_config_fuzz", name, json.dumps(config))
    write("run_files_fuzz", "whole", run_files())
    for name, stored in tokenizers():
        write("tokenizer_fuzz", name + ".json", json.dumps(stored, separators=(",", ":")))
    for stored in json.loads((HERE / "../golden/chat/chats.json").read_text())["templates"]:
        write("chat_template_fuzz", stored["name"].replace(" ", "_") + ".jinja", stored["template"])
    write("encode_fuzz", "marks", "e\u0301\u0323 \u1100\u1161\u11a8 \u212b\r\n\n  <repo> 1234 don't")
    write("encode_fuzz", "broken", b"ok \xff\xe2\x82 \xf0\x9f\x99\x82 <|endoftext|>  word")
    write("indexed_dataset_fuzz", "uint16", pair(8, [3, 2], [0, 1, 2], struct.pack("<5H", 1, 2, 3, 4, 999)))
    write("indexed_dataset_fuzz", "int32", pair(4, [1, 0, 2], [0, 2, 3], struct.pack("<3i", 7, 8, 9)))
    write("safetensors_fuzz", "two", safetensors(
        {"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
         "b": {"dtype": "U8", "shape": [], "data_offsets": [8, 9]}}, bytes(9)))
    write("job_file_fuzz", "all.yaml", (HERE / "../../configs/quickstart.yaml").read_text())
    write("job_file_fuzz", "mixture.yaml", "data:\n  train: [{path: a.bin, weight: 3}, {path: b.bin, weight: 1}]\n"
          "  phases: [{stage: end_to_end, from: 2k, train: c.bin}]\ncheckpoint: {every: 10 minutes}\n")
    write("job_file_fuzz", "flow.yaml", "{name: a, teacher: {path: t}, student: {mixer: mamba2, keep_attention: [0, 2]},\n"
          " data: {train: [x.bin], eval: \"y.bin\", seq_len: 8}, stages: {end_to_end: {tokens: 1k, tokens_per_step: 8,\n"
          " lr: 1e-3}}}\n")
    line = b'{"id": [1, {"a": null}], "text": "caf\\u00e9"}\n'
    write("text_file_fuzz", "plain", b"\0" + line)
    write("text_file_fuzz", "gz", b"\1" + gzip.compress(line, mtime=0) * 2)
    write("text_file_fuzz", "zst", b"\2" + subprocess.run(["zstd", "-q", "-c"], input=line, capture_output=True,
                                                          check=True).stdout)


if __name__ == "__main__":
    main()
