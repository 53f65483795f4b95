#include "cli/client/orchestrator.h"

#include <algorithm>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/backoff.h"
#include "core/base/clock.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/base/version.h"
#include "core/rpc/channel.h"

namespace retort {

std::string OrchestratorAddress(const std::string& flag, const char* environment) {
  if (!flag.empty()) return flag;
  if (environment != nullptr && *environment != '\0') return environment;
  return "localhost:7077";
}

bool MayPass(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsResourceExhausted(status);
}

void Repeats::Succeeded(double now_seconds) {
  give_up_at_ = now_seconds + patience_seconds_;
  failures_ = 0;
}

double Repeats::AfterFailure(double now_seconds, uint64_t random) {
  if (now_seconds >= give_up_at_) return -1;
  const double wait_seconds = static_cast<double>(RepeatWaitMs(++failures_, random)) / 1000;
  return std::min(wait_seconds, give_up_at_ - now_seconds);
}

absl::Status Unreachable(const std::string& address, const absl::Status& last, double tried_seconds) {
  return {
      last.code(),
      absl::StrCat("no answer from the orchestrator at ", address, " in ", FormatDuration(tried_seconds),
                   ": ", last.message(),
                   "; check that it runs, and name it with --orchestrator HOST:PORT or RETORT_ORCHESTRATOR")};
}

void WaitSeconds(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

uint64_t DrawRandom() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

std::string DrawRequestId() { return absl::StrFormat("%016x%016x", DrawRandom(), DrawRandom()); }

Orchestrator::Orchestrator(std::string address, double patience_seconds)
    : address_(std::move(address)),
      patience_seconds_(patience_seconds),
      stub_(v1::RunService::NewStub(MakeChannel(address_))) {}

absl::Status Orchestrator::Repeat(const std::function<absl::Status(double deadline_seconds)>& call) const {
  const double start = MonotonicSeconds();
  Repeats repeats(start, patience_seconds_);
  const double deadline = std::chrono::duration<double>(kCallDeadline).count();
  while (true) {
    constexpr double kShortestSeconds = 0.05;
    const double left = std::max(repeats.SecondsLeft(MonotonicSeconds()), kShortestSeconds);
    const absl::Status status = call(std::min(deadline, left));
    if (!MayPass(status)) return status;
    const double now = MonotonicSeconds();
    const double wait = repeats.AfterFailure(now, DrawRandom());
    if (wait < 0) return Unreachable(address_, status, now - start);
    WaitSeconds(wait);
  }
}

absl::StatusOr<Orchestrator> Orchestrator::Connect(const std::string& address, double patience_seconds) {
  Orchestrator orchestrator(address, patience_seconds);
  ASSIGN_OR_RETURN(const v1::GetVersionReply reply,
                   orchestrator.Call(&v1::RunService::Stub::GetVersion, v1::GetVersionRequest()));
  if (kProtocolVersion < reply.protocol_min() || kProtocolVersion > reply.protocol_max()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the orchestrator at ", address, ", version ", reply.version(), ", speaks protocols ",
                     reply.protocol_min(), " to ", reply.protocol_max(), "; this retort, version ",
                     std::string(Version()), ", speaks ", kProtocolVersion, ": use one of the same release"));
  }
  orchestrator.version_ = reply.version();
  return orchestrator;
}

}  // namespace retort
