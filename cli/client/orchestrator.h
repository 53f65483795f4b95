// An orchestrator as a client sees it: its address, its version checked, and calls that are repeated while it
// cannot be reached.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "core/rpc/call.h"
#include "retort/v1/run_service.grpc.pb.h"

namespace retort {

inline constexpr double kAnswerSeconds = 30;  // the default of --timeout
inline constexpr uint32_t kProtocolVersion = 1;

// --orchestrator when given, else RETORT_ORCHESTRATOR, else localhost:7077. `environment` may be null.
std::string OrchestratorAddress(const std::string& flag, const char* environment);

// Whether repeating a call that ended so may help: not reached, no answer in time, too busy.
bool MayPass(const absl::Status& status);

// Counts failures in a row against a limit of time. Not thread-safe.
class Repeats {
 public:
  // Gives up when `patience_seconds` have passed since construction or the last Succeeded().
  Repeats(double now_seconds, double patience_seconds)
      : give_up_at_(now_seconds + patience_seconds), patience_seconds_(patience_seconds) {}

  void Succeeded(double now_seconds);

  // Seconds to wait before the next try, or a negative number: give up. `random` as in RepeatWaitMs.
  double AfterFailure(double now_seconds, uint64_t random);

  double SecondsLeft(double now_seconds) const { return give_up_at_ - now_seconds; }

 private:
  double give_up_at_;
  double patience_seconds_;
  int failures_ = 0;
};

// What a user needs to know of gRPC's or the orchestrator's message.
std::string WhyUnreachable(const absl::Status& last);

// The error of a caller that gave up: who was not reached, why, for how long it tried, what to do.
absl::Status Unreachable(const std::string& address, const absl::Status& last, double tried_seconds);

void WaitSeconds(double seconds);
uint64_t DrawRandom();

// 32 hexadecimal digits, drawn anew for each wish of the user's.
std::string DrawRequestId();

// Used by one thread.
class Orchestrator {
 public:
  // Told once, two seconds after a call began to be repeated, why there is no answer yet.
  using OnWait = std::function<void(const std::string& why)>;

  // Opens the channel and shakes hands. FAILED_PRECONDITION when it speaks another protocol; UNAVAILABLE or
  // DEADLINE_EXCEEDED when it cannot be reached for `patience_seconds`, which is also every later call's
  // patience.
  static absl::StatusOr<Orchestrator> Connect(const std::string& address, double patience_seconds,
                                              OnWait on_wait = nullptr);

  // One call with docs/protocol.md's deadline, repeated with back-off while MayPass.
  template <class Request, class Reply>
  absl::StatusOr<Reply> Call(grpc::Status (v1::RunService::Stub::*method)(grpc::ClientContext*,
                                                                          const Request&, Reply*),
                             const Request& request) {
    Reply reply;
    const absl::Status status = Repeat([&](double deadline_seconds) {
      absl::StatusOr<Reply> answer =
          retort::Call(*stub_, method, request, std::chrono::milliseconds(int64_t(1000 * deadline_seconds)));
      if (answer.ok()) reply = *std::move(answer);
      return answer.status();
    });
    if (!status.ok()) return status;
    return reply;
  }

  // Waits before a call is repeated, and calls `go_on` ten times a second: for `seconds`, or until a
  // connection that was lost is there again. False as soon as `go_on` says so.
  bool WaitToRepeat(double seconds, const std::function<bool()>& go_on) const;

  v1::RunService::Stub& stub() { return *stub_; }
  const std::string& address() const { return address_; }
  const std::string& version() const { return version_; }  // of the orchestrator's program

 private:
  Orchestrator(std::string address, double patience_seconds, OnWait on_wait);
  absl::Status LacksTheCall() const;
  absl::Status Repeat(const std::function<absl::Status(double deadline_seconds)>& call) const;

  std::string address_;
  double patience_seconds_;
  OnWait on_wait_;
  std::string version_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::RunService::Stub> stub_;
};

}  // namespace retort
