#include "orchestrator/coordinator/rendezvous_table.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace retort::orchestrator {
namespace {

constexpr size_t kMaxKeyBytes = 256;
constexpr size_t kMaxValueBytes = size_t{64} << 10;
constexpr int kMaxKeysInGet = 1'024;
constexpr size_t kMaxBytes = size_t{16} << 20;  // of a generation's keys and values

absl::Status CheckKey(const std::string& key) {
  if (!key.empty() && key.size() <= kMaxKeyBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("Rendezvous: a key of ", key.size(), " bytes; it has 1 to ", kMaxKeyBytes));
}

}  // namespace

absl::Status RendezvousTable::Put(const std::string& key, const std::string& value, Generation& generation) {
  RETURN_IF_ERROR(CheckKey(key));
  if (value.size() > kMaxValueBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("Rendezvous: a value of ", value.size(), " bytes; at most ", kMaxValueBytes));
  }
  const auto found = generation.values.find(key);
  const size_t before = found == generation.values.end() ? 0 : key.size() + found->second.size();
  const size_t bytes = generation.bytes - before + key.size() + value.size();
  if (bytes > kMaxBytes) {
    return absl::ResourceExhaustedError(absl::StrCat("Rendezvous: generation ", generation.number,
                                                     " would have ", bytes, " bytes; at most ", kMaxBytes));
  }
  generation.bytes = bytes;
  generation.values[key] = value;
  return absl::OkStatus();
}

absl::StatusOr<v1::RendezvousReply> RendezvousTable::Do(uint64_t run_id,
                                                        const v1::RendezvousRequest& request) {
  MutexLock lock(mutex_);
  Generation& generation = of_run_[run_id];
  if (generation.number > request.generation()) {
    return absl::FailedPreconditionError(absl::StrCat("generation ", request.generation(), " is over"));
  }
  if (generation.number != request.generation()) {
    generation = Generation{.number = request.generation(), .bytes = 0, .values = {}};
  }
  v1::RendezvousReply reply;
  const auto show = [&](const std::string& key) {
    v1::RendezvousValue& shown = *reply.add_values();
    const auto found = generation.values.find(key);
    shown.set_exists(found != generation.values.end());
    if (shown.exists()) shown.set_value(found->second);
  };
  switch (request.operation_case()) {
    case v1::RendezvousRequest::kSet:
      RETURN_IF_ERROR(Put(request.set().key(), request.set().value(), generation));
      show(request.set().key());
      return reply;
    case v1::RendezvousRequest::kGet:
      if (request.get().keys_size() > kMaxKeysInGet) break;
      for (const std::string& key : request.get().keys()) show(key);
      return reply;
    case v1::RendezvousRequest::kAdd: {
      const auto found = generation.values.find(request.add().key());
      int64_t number = 0;
      if (found != generation.values.end() && !absl::SimpleAtoi(found->second, &number)) break;
      RETURN_IF_ERROR(Put(request.add().key(), absl::StrCat(number + request.add().amount()), generation));
      show(request.add().key());
      return reply;
    }
    case v1::RendezvousRequest::kCompareSet: {
      const v1::RendezvousCompareSet& compare = request.compare_set();
      const auto found = generation.values.find(compare.key());
      const std::string now = found == generation.values.end() ? "" : found->second;
      if (now == compare.expected()) RETURN_IF_ERROR(Put(compare.key(), compare.desired(), generation));
      show(compare.key());
      return reply;
    }
    default:
      break;
  }
  return absl::InvalidArgumentError(absl::StrCat("Rendezvous: no operation, more than ", kMaxKeysInGet,
                                                 " keys, or a sum of what is no number"));
}

void RendezvousTable::Keep(absl::FunctionRef<bool(uint64_t run_id)> is_wanted) {
  MutexLock lock(mutex_);
  std::erase_if(of_run_, [&](const auto& entry) { return !is_wanted(entry.first); });
}

}  // namespace retort::orchestrator
