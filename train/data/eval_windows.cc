#include "train/data/eval_windows.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/status_macros.h"
#include "train/data/indexed_dataset.h"

namespace retort {

absl::StatusOr<std::vector<std::vector<int32_t>>> EvalWindows(const std::filesystem::path& bin,
                                                              const WindowLimits& options) {
  RETORT_CHECK(options.max_window >= 2) << "max_window " << options.max_window;
  ASSIGN_OR_RETURN(const IndexedDataset dataset, IndexedDataset::Open(bin));
  uint64_t left = options.max_tokens == 0 ? dataset.num_tokens() : options.max_tokens;
  std::vector<std::vector<int32_t>> windows;
  for (uint64_t i = 0; i < dataset.num_documents() && left > 1; ++i) {
    const IndexedDataset::Document document = dataset.document(i);
    const uint64_t end = document.offset + document.size;
    uint64_t at = document.offset;
    while (left > 1 && end - at > 1) {
      const uint64_t size = std::min({static_cast<uint64_t>(options.max_window), end - at, left});
      std::vector<int32_t>& window = windows.emplace_back(size);
      RETURN_IF_ERROR(dataset.ReadTokens(at, size, options.vocab_size, window.data()));
      at += size;
      left -= size;
    }
  }
  if (windows.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("evaluation data ", bin.string(), ": ", dataset.num_documents(), " documents and ",
                     dataset.num_tokens(), " tokens hold no two tokens in a row to predict from"));
  }
  return windows;
}

}  // namespace retort
