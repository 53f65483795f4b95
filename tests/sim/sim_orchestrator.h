// The orchestrator's process: a real coordinator on a real store, whose disk is in memory and loses power. It
// may die between any two events and within any call, at any change of the disk; what was not synced is then
// lost. Around it the little that the service adds: waiting for work, streams, the timer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/log.h"
#include "core/store/store.h"
#include "orchestrator/coordinator/coordinator.h"
#include "tests/sim/flaky_disk.h"
#include "tests/sim/network.h"
#include "tests/sim/oracle.h"
#include "tests/sim/world.h"
#include "tests/support/power_cut.h"

namespace retort::sim {

class SimOrchestrator {
 public:
  SimOrchestrator(World& world, Network& network, Oracle& oracle, const orchestrator::Options& options);
  ~SimOrchestrator();

  void Start();
  bool is_up() const { return coordinator_ != nullptr; }
  // At once; comes back after `down_ms`.
  void Crash(bool loses_power, int64_t down_ms);
  // At the n-th change of the disk from now on.
  void CrashWithin(int64_t disk_changes) { disk_.CutAfter(disk_changes); }
  FlakyDisk& disk() { return flaky_disk_; }
  void JumpWallClock(int64_t by_ms) { wall_offset_ms_ += by_ms; }
  void SetClockRate(double rate) { clock_rate_ = rate; }

  // The last state that anybody was answered from.
  const orchestrator::State& state() const { return state_; }

  // A unary call of a worker or a user.
  template <class Reply, class Request>
  using Method = absl::StatusOr<Reply> (orchestrator::Coordinator::*)(const Request& request);
  template <class Reply, class Request>
  void Serve(const std::string& name, Method<Reply, Request> method, const Request& request,
             Delivery delivery, const Respond<Reply>& respond);
  void ServeLease(const v1::LeaseRequest& request, Delivery delivery, const Respond<v1::LeaseReply>& respond);
  void ServeFetch(const v1::FetchCheckpointRequest& request, Delivery delivery,
                  const Respond<std::vector<v1::FetchCheckpointReply>>& respond);

  // A stream's messages, each when it arrives. `start`: as starts() was when the stream was opened.
  uint64_t starts() const { return starts_; }
  absl::Status OpenUpload(const v1::UploadHeader& header);
  absl::Status AppendChunk(uint64_t start, const v1::UploadHeader& header, const v1::TensorChunk& chunk);
  void BreakUpload(uint64_t start, const v1::UploadHeader& header);

  // At the end: the run's result.json, as Download gives it, and whether all that is stored is whole.
  absl::StatusOr<std::string> DownloadResult(uint64_t run_id);
  std::vector<v1::EventRecord> Events() const;
  void VerifyStored();

 private:
  struct Waiter {
    v1::LeaseRequest request;
    Delivery delivery;
    Respond<v1::LeaseReply> respond;
    uint64_t asked_at_change;
    int64_t until_ms;
  };

  int64_t SteadyMs() const;
  orchestrator::Moment Now();
  // After each call: what it changed, whether the process outlived it, and what comes next.
  bool Outlived(const Oracle::Claim& claim);
  void CheckPublished(const orchestrator::State& before);
  void AskAgain();
  void PlanTick(int64_t at_ms);
  void Tick();

  World& world_;
  Network& network_;
  Oracle& oracle_;
  const orchestrator::Options options_;
  PowerCutDisk disk_;
  FlakyDisk flaky_disk_;
  Log log_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<orchestrator::Coordinator> coordinator_;
  orchestrator::State state_;
  uint64_t state_at_change_ = 0;
  bool is_exact_ = true;  // the last crash came between two calls
  uint64_t starts_ = 0;
  int64_t next_tick_ms_ = 0;
  uint64_t draws_ = 0;
  int64_t wall_offset_ms_ = 0;
  double clock_rate_ = 1;
  std::vector<Waiter> waiters_;
};

template <class Reply, class Request>
void SimOrchestrator::Serve(const std::string& name, Method<Reply, Request> method, const Request& request,
                            Delivery delivery, const Respond<Reply>& respond) {
  if (!is_up()) return respond(absl::UnavailableError("nobody listens"));
  const absl::StatusOr<Reply> reply = ((*coordinator_).*method)(request);
  Oracle::Claim claim = {.call = name};
  if constexpr (requires { request.worker_id(); }) claim.worker_id = request.worker_id();
  if constexpr (requires { request.token(); }) claim.token = request.token();
  if (!Outlived(claim)) return;
  oracle_.OnAnswer(name, delivery.is_awaited, reply.status());
  if constexpr (requires { request.progress(); }) {
    const bool is_renewed = reply.ok() && (reply->verdict().action() == v1::LEASE_ACTION_CONTINUE ||
                                           reply->verdict().action() == v1::LEASE_ACTION_YIELD);
    if (is_renewed) {
      oracle_.OnRenewed(request.progress().token(), world_.now_ms() + options_.lease_ttl_ms, state_);
    }
  }
  if constexpr (std::is_same_v<Request, v1::BeginPublishRequest>) {
    if (reply.ok()) oracle_.OnBegun(request, state_);
  }
  if constexpr (requires { request.request_id(); }) {
    oracle_.OnUserAnswer(request.request_id(), reply.status(), reply.ok() ? reply->SerializeAsString() : "");
  }
  respond(reply);
}

}  // namespace retort::sim
