#include "train/data/batches.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/random.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

// Last step of the seed's path, which tells the two draws of an epoch apart.
constexpr uint64_t kShift = 0;
constexpr uint64_t kOrder = 1;

}  // namespace

absl::StatusOr<Batches> Batches::Open(const std::vector<std::filesystem::path>& bins, int seq_len,
                                      uint64_t seed, int vocab_size) {
  RETORT_CHECK(seq_len > 0) << "seq_len " << seq_len;
  ASSIGN_OR_RETURN(TokenStream stream, TokenStream::Open(bins, vocab_size));
  if (stream.num_tokens() < static_cast<uint64_t>(seq_len)) {
    return absl::InvalidArgumentError(absl::StrCat("the training data ", bins[0].string(),
                                                   bins.size() > 1 ? " and further files have " : " has ",
                                                   stream.num_tokens(), " tokens, less than one sequence of ",
                                                   seq_len, ": give more data or a smaller seq_len"));
  }
  return Batches(std::move(stream), seq_len, seed);
}

Batches::Batches(TokenStream stream, int seq_len, uint64_t seed)
    : stream_(std::move(stream)),
      seq_len_(seq_len),
      seed_(seed),
      windows_(std::max<uint64_t>(1, (stream_.num_tokens() - (seq_len - 1)) / seq_len)) {}

uint64_t Batches::Offset(int stage, uint64_t n) const {
  const uint64_t stage_path = static_cast<uint64_t>(stage);
  const uint64_t epoch = n / windows_;
  // With less than two windows of data, not every shift leaves room for one.
  const uint64_t shifts = std::min<uint64_t>(seq_len_, stream_.num_tokens() - windows_ * seq_len_ + 1);
  const uint64_t shift = MixSeed(seed_, {stage_path, epoch, kShift}) % shifts;
  const KeyedPermutation order(windows_, MixSeed(seed_, {stage_path, epoch, kOrder}));
  return shift + order(n % windows_) * seq_len_;
}

absl::StatusOr<std::vector<int32_t>> Batches::Sequences(int stage, uint64_t first, int count) const {
  RETORT_CHECK(count >= 0) << "count " << count;
  std::vector<int32_t> ids(static_cast<size_t>(count) * seq_len_);
  for (int i = 0; i < count; ++i) {
    RETURN_IF_ERROR(
        stream_.Read(Offset(stage, first + i), seq_len_, ids.data() + static_cast<size_t>(i) * seq_len_));
  }
  return ids;
}

}  // namespace retort
