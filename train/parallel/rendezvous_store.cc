#include "train/parallel/rendezvous_store.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace retort {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstPoll{5}, kLongestPoll{100};

std::string TextOf(const std::vector<uint8_t>& bytes) { return {bytes.begin(), bytes.end()}; }
std::vector<uint8_t> BytesOf(const std::string& text) { return {text.begin(), text.end()}; }

template <class Result>
Result OrThrow(absl::StatusOr<Result> result, const std::string& doing) {
  if (!result.ok()) {
    C10_THROW_ERROR(DistStoreError,
                    absl::StrCat("rendezvous, ", doing, ": ", std::string(result.status().message())));
  }
  return *std::move(result);
}

}  // namespace

c10::intrusive_ptr<c10d::Store> RendezvousStore::clone() {
  return c10::make_intrusive<RendezvousStore>(rendezvous_, timeout_);
}

void RendezvousStore::set(const std::string& key, const std::vector<uint8_t>& value) {
  const absl::Status status = rendezvous_->Set(key, TextOf(value));
  OrThrow<bool>(status.ok() ? absl::StatusOr<bool>(true) : status, "set " + key);
}

std::vector<uint8_t> RendezvousStore::compareSet(const std::string& key, const std::vector<uint8_t>& expected,
                                                 const std::vector<uint8_t>& desired) {
  return BytesOf(
      OrThrow(rendezvous_->CompareSet(key, TextOf(expected), TextOf(desired)), "compare and set " + key));
}

std::vector<uint8_t> RendezvousStore::get(const std::string& key) {
  wait({key});
  return BytesOf(GetNow({key})[0].value());
}

int64_t RendezvousStore::add(const std::string& key, int64_t amount) {
  return OrThrow(rendezvous_->Add(key, amount), "add to " + key);
}

bool RendezvousStore::deleteKey(const std::string&) { return false; }

bool RendezvousStore::check(const std::vector<std::string>& keys) {
  const auto values = GetNow(keys);
  return std::all_of(values.begin(), values.end(), [](const auto& value) { return value.has_value(); });
}

int64_t RendezvousStore::getNumKeys() {
  C10_THROW_ERROR(NotImplementedError, "a rendezvous does not count its keys");
}

void RendezvousStore::wait(const std::vector<std::string>& keys) { wait(keys, timeout_); }

void RendezvousStore::wait(const std::vector<std::string>& keys, const milliseconds& timeout) {
  const auto until = std::chrono::steady_clock::now() + timeout;
  milliseconds poll = kFirstPoll;
  while (!check(keys)) {
    if (std::chrono::steady_clock::now() >= until) {
      C10_THROW_ERROR(DistStoreError, absl::StrCat("rendezvous: nobody has set ", absl::StrJoin(keys, ", "),
                                                   " within ", timeout.count(), " ms"));
    }
    std::this_thread::sleep_for(poll);
    poll = std::min(2 * poll, kLongestPoll);
  }
}

std::vector<std::optional<std::string>> RendezvousStore::GetNow(const std::vector<std::string>& keys) {
  return OrThrow(rendezvous_->Get(keys), "get " + absl::StrJoin(keys, ", "));
}

}  // namespace retort
