// A model continues a text: `retort generate`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <string>

#include "absl/status/status.h"

namespace retort {

struct GenerateOptions {
  std::filesystem::path model;  // a teacher's or a student's directory with tokenizer.json
  std::string prompt;
  bool chat = false;       // the prompt is a user's message, in the model's chat template
  int64_t tokens = 64;     // at most; fewer when the model ends its text
  double temperature = 0;  // 0: the most probable token each time
  int64_t top_k = 0;       // sample among this many most probable tokens; 0: among all
  uint64_t seed = 0;       // equal seeds give equal texts on one machine
  int threads = 0;         // 0: all cores
};

// Writes the prompt and then its continuation to `out`, or of a chat the answer alone, flushed token by
// token, and a newline at the end. NOT_FOUND for a missing directory or tokenizer; INVALID_ARGUMENT for an
// unusable model, and for a chat without a template; UNIMPLEMENTED for what a template asks;
// RESOURCE_EXHAUSTED when `out` takes no more.
absl::Status RunGenerate(const GenerateOptions& options, std::ostream& out);

}  // namespace retort
