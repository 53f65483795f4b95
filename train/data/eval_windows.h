// The token windows that a model is measured on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "absl/status/statusor.h"

namespace retort {

struct WindowLimits {
  int max_window = 0;       // tokens of the longest window: the model's context
  uint64_t max_tokens = 0;  // take at most this many tokens in all; 0: every document
  int32_t vocab_size = 0;   // ids must lie in [0, vocab_size)
};

// Cuts each document of the Megatron file `bin` on its own into consecutive windows of at most max_window
// tokens, and takes of these, in file order, as many as max_tokens allow, evenly over the whole file (the
// last one is cut to fit). A window's first token is given, the others are predicted; windows of one token
// predict nothing and are left out. INVALID_ARGUMENT when no window is left; otherwise the errors of
// IndexedDataset.
absl::StatusOr<std::vector<std::vector<int32_t>>> EvalWindows(const std::filesystem::path& bin,
                                                              const WindowLimits& options);

}  // namespace retort
