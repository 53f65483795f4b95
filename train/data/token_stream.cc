#include "train/data/token_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace retort {

absl::StatusOr<TokenStream> TokenStream::Open(const std::vector<std::filesystem::path>& bins,
                                              int32_t vocab_size) {
  if (bins.empty()) return absl::InvalidArgumentError("no token file was given");
  std::vector<IndexedDataset> datasets;
  for (const std::filesystem::path& bin : bins) {
    ASSIGN_OR_RETURN(IndexedDataset dataset, IndexedDataset::Open(bin, vocab_size));
    datasets.push_back(std::move(dataset));
  }
  return TokenStream(std::move(datasets));
}

TokenStream::TokenStream(std::vector<IndexedDataset> datasets) : datasets_(std::move(datasets)), starts_{0} {
  for (const IndexedDataset& dataset : datasets_) starts_.push_back(starts_.back() + dataset.num_tokens());
}

absl::Status TokenStream::Read(uint64_t offset, uint64_t count, int32_t* out) const {
  if (offset > num_tokens() || count > num_tokens() - offset) {
    return absl::OutOfRangeError(absl::StrCat("tokens [", offset, ", +", count, ") asked of ", num_tokens()));
  }
  size_t i = std::upper_bound(starts_.begin(), starts_.end(), offset) - starts_.begin() - 1;
  while (count > 0) {
    const uint64_t here = std::min(count, starts_[i + 1] - offset);
    RETURN_IF_ERROR(datasets_[i].ReadTokens(offset - starts_[i], here, out));
    offset += here;
    count -= here;
    out += here;
    ++i;
  }
  return absl::OkStatus();
}

}  // namespace retort
