#include "train/data/batches.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/job_work.h"
#include "core/base/random.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

// Last step of the seed's path: what an epoch of source s draws is 2s + one of these.
constexpr uint64_t kShift = 0;
constexpr uint64_t kOrder = 1;

constexpr int kEveryStage = 0;

std::vector<std::string> Names(const google::protobuf::RepeatedPtrField<std::string>& list) {
  return {list.begin(), list.end()};
}

std::vector<uint32_t> Weights(const google::protobuf::RepeatedField<uint32_t>& list) {
  return {list.begin(), list.end()};
}

}  // namespace

absl::StatusOr<Batches> Batches::Open(const v1::DataSpec& data,
                                      const std::vector<std::filesystem::path>& files, int vocab_size) {
  RETORT_CHECK(data.seq_len() > 0 && files.size() == TrainFiles(data).size())
      << "seq_len " << data.seq_len() << ", " << files.size() << " files";
  Batches batches(static_cast<int>(data.seq_len()), data.seed());
  const std::filesystem::path* next = files.data();
  RETURN_IF_ERROR(
      batches.AddPhase(kEveryStage, 0, Names(data.train()), Weights(data.train_weights()), next, vocab_size));
  next += data.train_size();
  for (const v1::DataPhase& phase : data.phases()) {
    const uint64_t first = (phase.from_tokens() + data.seq_len() - 1) / data.seq_len();
    RETURN_IF_ERROR(batches.AddPhase(phase.stage(), first, Names(phase.train()),
                                     Weights(phase.train_weights()), next, vocab_size));
    next += phase.train_size();
  }
  return batches;
}

absl::Status Batches::AddPhase(int stage, uint64_t first, const std::vector<std::string>& names,
                               std::vector<uint32_t> weights, const std::filesystem::path* files,
                               int vocab_size) {
  std::vector<size_t> sources;
  if (weights.empty()) {
    ASSIGN_OR_RETURN(const size_t source, SourceOf(names, {files, files + names.size()}, vocab_size));
    sources = {source};
    weights = {1};
  } else {
    RETORT_CHECK(weights.size() == names.size())
        << weights.size() << " weights of " << names.size() << " files";
    for (size_t i = 0; i < names.size(); ++i) {
      ASSIGN_OR_RETURN(const size_t source, SourceOf({names[i]}, {files[i]}, vocab_size));
      sources.push_back(source);
    }
  }
  std::vector<uint64_t> before;
  for (const size_t source : sources) before.push_back(CountBefore(stage, first, source));
  phases_.push_back({stage, first, Mixture(std::move(weights)), std::move(sources), std::move(before)});
  return absl::OkStatus();
}

absl::StatusOr<size_t> Batches::SourceOf(const std::vector<std::string>& names,
                                         const std::vector<std::filesystem::path>& bins, int vocab_size) {
  const auto known = std::find_if(sources_.begin(), sources_.end(),
                                  [&names](const Source& source) { return source.names == names; });
  if (known != sources_.end()) return static_cast<size_t>(known - sources_.begin());
  ASSIGN_OR_RETURN(TokenStream stream, TokenStream::Open(bins, vocab_size));
  const auto seq_len = static_cast<uint64_t>(seq_len_);
  if (stream.num_tokens() < seq_len) {
    return absl::InvalidArgumentError(absl::StrCat("the training data ", bins[0].string(),
                                                   bins.size() > 1 ? " and further files have " : " has ",
                                                   stream.num_tokens(), " tokens, less than one sequence of ",
                                                   seq_len, ": give more data or a smaller seq_len"));
  }
  const uint64_t windows = std::max<uint64_t>(1, (stream.num_tokens() - (seq_len - 1)) / seq_len);
  sources_.push_back({names, std::move(stream), windows});
  return sources_.size() - 1;
}

const Batches::Phase& Batches::PhaseAt(int stage, uint64_t n) const {
  size_t at = 0;
  for (size_t i = 1; i < phases_.size(); ++i) {
    if (phases_[i].stage == stage && phases_[i].first <= n) at = i;
  }
  return phases_[at];
}

uint64_t Batches::CountBefore(int stage, uint64_t n, size_t source) const {
  uint64_t count = 0;
  while (n > 0) {
    const Phase& phase = PhaseAt(stage, n - 1);
    for (size_t i = 0; i < phase.sources.size(); ++i) {
      if (phase.sources[i] == source) count += phase.mixture.Count(i, n - phase.first);
    }
    n = phase.first;
  }
  return count;
}

uint64_t Batches::Offset(int stage, size_t source, uint64_t m) const {
  const auto stage_path = static_cast<uint64_t>(stage);
  const auto seq_len = static_cast<uint64_t>(seq_len_);
  const uint64_t num_tokens = sources_[source].stream.num_tokens(), windows = sources_[source].windows;
  const uint64_t epoch = m / windows;
  // With less than two windows of data, not every shift leaves room for one.
  const uint64_t shifts = std::min<uint64_t>(seq_len, num_tokens - windows * seq_len + 1);
  const uint64_t shift = MixSeed(seed_, {stage_path, epoch, 2 * source + kShift}) % shifts;
  const KeyedPermutation order(windows, MixSeed(seed_, {stage_path, epoch, 2 * source + kOrder}));
  return shift + order(m % windows) * seq_len;
}

absl::StatusOr<std::vector<int32_t>> Batches::Sequences(int stage, uint64_t first, int count) const {
  RETORT_CHECK(count >= 0) << "count " << count;
  std::vector<int32_t> ids(static_cast<size_t>(count) * seq_len_);
  for (int i = 0; i < count; ++i) {
    const uint64_t n = first + i;
    const Phase& phase = PhaseAt(stage, n);
    const Mixture::Place place = phase.mixture.At(n - phase.first);
    const size_t source = phase.sources[place.source];
    const uint64_t offset = Offset(stage, source, phase.before[place.source] + place.rank);
    RETURN_IF_ERROR(sources_[source].stream.Read(offset, static_cast<uint64_t>(seq_len_),
                                                 ids.data() + static_cast<size_t>(i) * seq_len_));
  }
  return ids;
}

}  // namespace retort
