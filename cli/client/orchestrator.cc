#include "cli/client/orchestrator.h"

#include <algorithm>
#include <random>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/show/words.h"
#include "core/base/backoff.h"
#include "core/base/clock.h"
#include "core/base/status_macros.h"
#include "core/base/version.h"
#include "core/rpc/channel.h"

namespace retort {
namespace {

constexpr double kTickSeconds = 0.1;
constexpr double kTellAfterSeconds = 2;

}  // namespace

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

std::string WhyUnreachable(const absl::Status& last) {
  const auto says = [&last](const char* text) { return absl::StrContains(last.message(), text); };
  if (says("Connection refused")) return "connection refused";
  if (says("DNS resolution failed")) return "no machine of that name is known";
  if (says("http1.x server") || says("Failed parsing HTTP/2")) return "what answers there is no orchestrator";
  if (says("No route to host") || says("Network is unreachable")) return "no route to that machine";
  if (absl::IsDeadlineExceeded(last) && says("Deadline Exceeded")) return "it did not answer in time";
  if (says("Socket closed") || says("Connection reset") || says("Broken pipe") || says("keepalive")) {
    return "the connection was lost";
  }
  const std::string text(last.message());
  // "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:7077: REASON"
  return absl::StartsWith(text, "failed to connect to all") ? text.substr(text.rfind(": ") + 2) : text;
}

absl::Status Unreachable(const std::string& address, const absl::Status& last, double tried_seconds) {
  return {
      last.code(),
      absl::StrCat("no answer from the orchestrator at ", address, " in ",
                   FormatPreciseDuration(tried_seconds), ": ", WhyUnreachable(last),
                   "; check that it runs, and name it with --orchestrator HOST:PORT or RETORT_ORCHESTRATOR")};
}

void WaitSeconds(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

uint64_t DrawRandom() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

std::string DrawRequestId() { return absl::StrFormat("%016x%016x", DrawRandom(), DrawRandom()); }

Orchestrator::Orchestrator(std::string address, double patience_seconds, OnWait on_wait)
    : address_(std::move(address)),
      patience_seconds_(patience_seconds),
      on_wait_(std::move(on_wait)),
      channel_(MakeChannel(address_)),
      stub_(v1::RunService::NewStub(channel_)) {}

bool Orchestrator::WaitToRepeat(double seconds, const std::function<bool()>& go_on) const {
  const auto is_connected = [this] {
    return channel_->GetState(/*try_to_connect=*/true) == GRPC_CHANNEL_READY;
  };
  const bool was_connected = is_connected();
  for (const double end = MonotonicSeconds() + seconds; MonotonicSeconds() < end;) {
    if (!go_on()) return false;
    WaitSeconds(std::min(kTickSeconds, std::max(end - MonotonicSeconds(), 0.0)));
    if (!was_connected && is_connected()) break;
  }
  return go_on();
}

absl::Status Orchestrator::LacksTheCall() const {
  return absl::UnimplementedError(
      version_.empty()
          ? absl::StrCat("what answers at ", address_,
                         " is no orchestrator of Retort; name it with --orchestrator HOST:PORT or "
                         "RETORT_ORCHESTRATOR")
          : absl::StrCat("the orchestrator at ", address_, ", version ", version_,
                         ", does not know this call; use the retort of its release"));
}

absl::Status Orchestrator::Repeat(const std::function<absl::Status(double deadline_seconds)>& call) const {
  const double start = MonotonicSeconds();
  Repeats repeats(start, patience_seconds_);
  const double deadline = std::chrono::duration<double>(kCallDeadline).count();
  bool has_told = false;
  while (true) {
    constexpr double kShortestSeconds = 0.05;
    const double left = std::max(repeats.SecondsLeft(MonotonicSeconds()), kShortestSeconds);
    const absl::Status status = call(std::min(deadline, left));
    if (absl::IsUnimplemented(status)) return LacksTheCall();
    if (!MayPass(status)) return status;
    const double now = MonotonicSeconds();
    const double wait = repeats.AfterFailure(now, DrawRandom());
    if (wait < 0) return Unreachable(address_, status, now - start);
    if (on_wait_ && !has_told && now - start >= kTellAfterSeconds) {
      on_wait_(WhyUnreachable(status));
      has_told = true;
    }
    WaitToRepeat(wait, [] { return true; });
  }
}

absl::StatusOr<Orchestrator> Orchestrator::Connect(const std::string& address, double patience_seconds,
                                                   OnWait on_wait) {
  Orchestrator orchestrator(address, patience_seconds, std::move(on_wait));
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
