#include "cli/verb_table.h"

namespace retort {

const std::vector<VerbInfo>& VerbTable() {
  static const auto& table = *new std::vector<VerbInfo>{
      {"run",
       "Distil a teacher into a student, on this machine",
       {},
       {"--root", "--out", "--threads", "--check"}},
      {"eval",
       "Measure how well a model predicts token files",
       {},
       {"--teacher", "--data", "--window", "--max-tokens", "--threads", "--output"}},
      {"generate",
       "Continue a text with a teacher or a student",
       {},
       {"--prompt", "--tokens", "--temperature", "--top-k", "--seed", "--threads"}},
      {"inspect", "Print configuration, layers and parameters of a model", {}, {"--output"}},
      {"data",
       "Prepare training data",
       {"tokenize"},
       {"--tokenizer", "--out", "--eod", "--text-field", "--holdout", "--holdout-documents", "--holdout-seed",
        "--holdout-out"}},
      {"completion", "Print a completion script for a shell", {"bash", "zsh", "fish"}, {}},
      {"version", "Print the version", {}, {}},
  };
  return table;
}

}  // namespace retort
