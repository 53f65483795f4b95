#include "worker/run/gang_membership.h"

#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/clock.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

constexpr int kAsks = 5;
constexpr std::chrono::milliseconds kAskEvery{200};
constexpr int kTimeoutsToConnect = 6;
const std::string kNoAnswer = "the orchestrator does not answer";

// The orchestrator is away, or knows another lease than this one: the agent finds out by its heartbeats.
bool MayPass(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsAborted(status) ||
         absl::IsResourceExhausted(status);
}

// One generation's keys, by the orchestrator's Rendezvous.
class RendezvousByCalls final : public Rendezvous {
 public:
  RendezvousByCalls(GangCalls& calls, uint64_t generation) : calls_(calls), generation_(generation) {}

  absl::Status Set(const std::string& key, const std::string& value) override {
    v1::RendezvousRequest request;
    request.mutable_set()->set_key(key);
    request.mutable_set()->set_value(value);
    return Ask(std::move(request), 1).status();
  }

  absl::StatusOr<std::vector<std::optional<std::string>>> Get(const std::vector<std::string>& keys) override {
    v1::RendezvousRequest request;
    for (const std::string& key : keys) request.mutable_get()->add_keys(key);
    ASSIGN_OR_RETURN(const v1::RendezvousReply reply, Ask(std::move(request), keys.size()));
    std::vector<std::optional<std::string>> values;
    for (const v1::RendezvousValue& value : reply.values()) {
      values.push_back(value.exists() ? std::optional(value.value()) : std::nullopt);
    }
    return values;
  }

  absl::StatusOr<int64_t> Add(const std::string& key, int64_t amount) override {
    v1::RendezvousRequest request;
    request.mutable_add()->set_key(key);
    request.mutable_add()->set_amount(amount);
    ASSIGN_OR_RETURN(const v1::RendezvousReply reply, Ask(std::move(request), 1));
    return std::stoll(reply.values(0).value());
  }

  absl::StatusOr<std::string> CompareSet(const std::string& key, const std::string& expected,
                                         const std::string& desired) override {
    v1::RendezvousRequest request;
    request.mutable_compare_set()->set_key(key);
    request.mutable_compare_set()->set_expected(expected);
    request.mutable_compare_set()->set_desired(desired);
    ASSIGN_OR_RETURN(const v1::RendezvousReply reply, Ask(std::move(request), 1));
    return reply.values(0).value();
  }

 private:
  absl::StatusOr<v1::RendezvousReply> Ask(v1::RendezvousRequest request, size_t values) {
    request.set_generation(generation_);
    ASSIGN_OR_RETURN(v1::RendezvousReply reply, calls_.Rendezvous(std::move(request)));
    if (static_cast<size_t>(reply.values_size()) == values) return reply;
    return absl::UnknownError(
        absl::StrCat("Rendezvous answered with ", reply.values_size(), " values, not ", values));
  }

  GangCalls& calls_;
  const uint64_t generation_;
};

}  // namespace

absl::StatusOr<bool> GangMembership::Unreached(const std::string& why, const LogContext& context) {
  const double now_seconds = MonotonicSeconds();
  if (!unreached_since_seconds_) unreached_since_seconds_ = now_seconds;
  const double lasted_seconds = now_seconds - *unreached_since_seconds_;
  if (1000 * lasted_seconds > kTimeoutsToConnect * double{1} * gang_.timeout_ms()) {
    return absl::UnavailableError(
        absl::StrFormat("%s; so it has been for %.1f s. Each worker's address must be one that the others "
                        "reach: retort-worker "
                        "--host ADDRESS",
                        why, lasted_seconds));
  }
  log_.Warning(why, context);
  std::this_thread::sleep_for(kAskEvery);
  return false;
}

absl::StatusOr<bool> GangMembership::Join(const std::atomic<bool>& stop, const LogContext& context) {
  v1::JoinGangReply formed;
  absl::Status asked;
  for (int ask = 0; ask < kAsks && formed.generation() == 0; ++ask) {
    if (ask > 0) std::this_thread::sleep_for(kAskEvery);
    absl::StatusOr<v1::JoinGangReply> reply = calls_.JoinGang(generation_);
    if (stop.load()) return absl::CancelledError("the slice was asked back while its gang was forming");
    asked = reply.status();
    if (MayPass(asked)) continue;
    RETURN_IF_ERROR(asked);
    formed = *std::move(reply);
  }
  if (formed.generation() == 0) {
    const std::string& reason = formed.reason().empty() ? kNoAnswer : formed.reason();
    // ABORTED: the lease is over, of which the agent is being told.
    if (!absl::IsAborted(asked) && std::exchange(reason_, reason) != reason) log_.Info(reason, context);
    return false;
  }
  generation_ = formed.generation();
  formed_ranks_ = formed.world_size();
  reason_.clear();
  const absl::StatusOr<std::string> host = calls_.Host();
  const double begin = MonotonicSeconds();
  absl::StatusOr<std::unique_ptr<RankGroup>> group =
      host.ok() ? RankGroup::Connect({.rank = static_cast<int>(formed.rank()),
                                      .world_size = static_cast<int>(formed.world_size()),
                                      .timeout = std::chrono::milliseconds(gang_.timeout_ms()),
                                      .address = *host},
                                     std::make_shared<RendezvousByCalls>(calls_, generation_))
                : host.status();
  if (stop.load()) return absl::CancelledError("the slice was asked back while its gang was connecting");
  if (absl::IsUnavailable(group.status())) {
    return Unreached(absl::StrCat("generation ", generation_, ": ", group.status().message()), context);
  }
  RETURN_IF_ERROR(group.status());
  unreached_since_seconds_.reset();
  group_ = *std::move(group);
  log_.Info(absl::StrFormat("generation %d: rank %d of %d, connected in %.0f ms", generation_, formed.rank(),
                            formed.world_size(), 1000 * (MonotonicSeconds() - begin)),
            context);
  return true;
}

}  // namespace retort
