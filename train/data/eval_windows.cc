#include "train/data/eval_windows.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/status_macros.h"
#include "train/data/indexed_dataset.h"

namespace retort {
namespace {

struct Span {
  uint64_t offset, size;  // tokens
};

std::vector<Span> AllWindows(const IndexedDataset& dataset, uint64_t max_window) {
  std::vector<Span> windows;
  for (uint64_t i = 0; i < dataset.num_documents(); ++i) {
    const IndexedDataset::Document document = dataset.document(i);
    for (uint64_t at = 0; document.size - at > 1;) {
      const uint64_t size = std::min(max_window, document.size - at);
      windows.push_back({document.offset + at, size});
      at += size;
    }
  }
  return windows;
}

// Those that keep the number of tokens taken in proportion to the number passed.
std::vector<Span> Spread(const std::vector<Span>& windows, uint64_t max_tokens) {
  double total = 0, passed = 0;
  for (const Span& window : windows) total += static_cast<double>(window.size);
  std::vector<Span> chosen;
  uint64_t left = max_tokens;
  for (const Span& window : windows) {
    passed += static_cast<double>(window.size);
    const double due = passed * (static_cast<double>(max_tokens) / total);
    if (left < 2 || static_cast<double>(max_tokens - left) >= due) continue;
    chosen.push_back({window.offset, std::min(window.size, left)});
    left -= chosen.back().size;
  }
  return chosen;
}

}  // namespace

absl::StatusOr<std::vector<std::vector<int32_t>>> EvalWindows(const std::filesystem::path& bin,
                                                              const WindowLimits& options) {
  RETORT_CHECK(options.max_window >= 2) << "max_window " << options.max_window;
  ASSIGN_OR_RETURN(const IndexedDataset dataset, IndexedDataset::Open(bin, options.vocab_size));
  std::vector<Span> spans = AllWindows(dataset, options.max_window);
  if (options.max_tokens > 0) spans = Spread(spans, options.max_tokens);
  if (spans.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("evaluation data ", bin.string(), ": ", dataset.num_documents(), " documents and ",
                     dataset.num_tokens(), " tokens hold no two tokens in a row to predict from"));
  }
  std::vector<std::vector<int32_t>> windows;
  for (const Span& span : spans) {
    std::vector<int32_t>& window = windows.emplace_back(span.size);
    RETURN_IF_ERROR(dataset.ReadTokens(span.offset, span.size, window.data()));
  }
  return windows;
}

}  // namespace retort
