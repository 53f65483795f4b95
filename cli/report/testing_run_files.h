// For tests: the files of a small finished run.
#pragma once

#include "cli/report/run_files.h"
#include "nlohmann/json.hpp"

namespace retort {

// Layer 0 was kept; `kept_distance` is how far stage 3 moved it.
inline nlohmann::json Student(double perplexity, double distance, double kept_distance = 0) {
  return {{"perplexity", perplexity},
          {"tokens", 99},
          {"kl", 0.5},
          {"top1_agreement", 0.25},
          {"hidden_distance", {kept_distance, distance, 2 * distance}}};
}

inline RunFiles Files() {
  RunFiles files;
  files.result = nlohmann::json::parse(R"({
    "job": "tiny", "layer_types": ["attention", "mamba2", "mamba2"], "seconds": 75.0, "peak_memory_bytes": 314572800,
    "versions": {"retort": "0.1.0", "libtorch": "2.11.0"},
    "host": {"processor": "Some <CPU>", "cores": 2, "kernel": "Linux 6"},
    "identity": {
      "job": {"teacher": {"path": "models/t"}, "student": {"mixer": "MIXER_KIND_MAMBA2", "stateSize": 64},
              "stages": {"endToEnd": {"budget": {"tokens": "4096", "tokensPerStep": "64", "lr": 0.001}}}},
      "teacher_sha256": "aa11", "data_sha256": {"train.bin": "bb22"}, "threads": 3, "compute_path": "avx2",
      "version": "0.1.0+abc"},
    "teacher": {"perplexity": 20.0, "tokens": 99},
    "stages": [{"name": "matrix_orientation", "tokens": 12000, "seconds": 30, "loss_first": 9.5, "loss_last": 3.25},
               {"name": "end_to_end", "tokens": 4096, "seconds": 45, "loss_first": 4.5, "loss_last": 2.125}],
    "tokens_per_second": {"matrix_orientation": 400, "end_to_end": 91}
  })");
  files.result["initial"] = Student(4000, 100);
  files.result["stages"][0]["student"] = Student(400, 10);
  files.result["stages"][1]["student"] = files.result["student"] = Student(30, 5);
  files.losses["matrix_orientation"] = {{1, {10, 3}}, {2, {9, 3.5}}};
  files.losses["end_to_end"] = {{-1, {4.5, 2.125}}};
  files.shown = nlohmann::json::parse(R"({
    "architecture": {"hidden_size": 64, "heads": 4, "kv_heads": 2, "vocab_size": 300,
                     "teacher_parameters": 123456, "student_parameters": 234567},
    "matrices": {"layer": 1, "head": 0, "teacher": [1, 0.5, 0.5],
                 "students": [{"after": "untrained", "values": [1, 0.5, 3.5]},
                              {"after": "matrix_orientation", "values": [1, 0.5, 0.5]}]},
    "samples": [{"prompt": "Once <script>", "teacher": " upon", "student": " more & more"}]
  })");
  return files;
}

}  // namespace retort
