#include "worker/agent/agent.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/backoff.h"
#include "core/base/check.h"
#include "core/base/log.h"
#include "core/base/random.h"

namespace retort {
namespace {

// Of a grace or a yield's time: how much the step under way gets to come to its end.
constexpr double kStepShare = 0.4;
// Of the grace: kept for the good-bye.
constexpr int64_t kLeaveShare = 5;
constexpr int64_t kMostLeaveMs = 3'000;

}  // namespace

Agent::Agent(v1::RegisterRequest registration, uint64_t seed)
    : registration_(std::move(registration)), seed_(seed) {}

uint64_t Agent::Draw() { return MixSeed(seed_, {++draws_}); }

void Agent::Write(v1::LogLevel level, std::string text) {
  Note note = {.level = level, .text = std::move(text)};
  if (holding_) {
    note.run_id = holding_->slice().run_id();
    note.stage = holding_->slice().stage();
    note.token = holding_->token();
    note.step = holding_->slowest_step();
  }
  notes_.push_back(std::move(note));
}

std::vector<Note> Agent::TakeNotes() { return std::exchange(notes_, {}); }

void Agent::BackOff(int64_t now_ms) {
  ++call_failures_;
  call_due_ms_ = now_ms + RepeatWaitMs(call_failures_, Draw());
  if (ending_ && ending_->leave_ms)
    call_due_ms_ = std::min(call_due_ms_, std::max(now_ms, *ending_->leave_ms));
}

void Agent::RegisterAgain() {
  is_registered_ = false;
  verdict_needed_ = holding_.has_value();
  heartbeat_asks_again_ = false;
}

void Agent::FailSlice(v1::EndCause cause, std::vector<uint32_t> layers, const std::string& message) {
  if (!holding_ || failure_) return;
  const std::vector<uint32_t> held = holding_->Numbers();
  std::erase_if(layers, [&](uint32_t layer) { return !std::binary_search(held.begin(), held.end(), layer); });
  if (layers.empty()) layers = held;
  failure_ = Failure{cause, std::move(layers), LogText(message)};
  publishes_.clear();
  Write(v1::LOG_LEVEL_ERROR, absl::StrCat("the slice fails (", v1::EndCause_Name(cause), "): ", message));
}

void Agent::EndHolding() {
  Write(v1::LOG_LEVEL_INFO, absl::StrCat("lease ", holding_->token(), " is over"));
  holding_.reset();
  failure_.reset();
  prepared_.reset();
  yield_since_ms_.reset();
  publishes_.clear();
  verdict_needed_ = false;
  load_failures_ = 0;
  load_due_ms_ = 0;
}

void Agent::Terminate(int64_t now_ms, int64_t grace_ms) {
  if (ending_ && ending_->by_ms) return;
  const int64_t by_ms = now_ms + grace_ms;
  ending_ = Ending{now_ms, by_ms - std::min(kMostLeaveMs, grace_ms / kLeaveShare), by_ms};
  call_due_ms_ = now_ms;
  if (holding_) holding_->YieldAll(v1::END_CAUSE_PREEMPTION);
  Write(v1::LOG_LEVEL_INFO, absl::StrCat("told to end within ", grace_ms, " ms"));
}

// ---- heartbeats

v1::SlicePhase Agent::Phase(int64_t now_ms) const {
  if (work_ && std::holds_alternative<MakeResultOrder>(*work_)) return v1::SLICE_PHASE_MEASURING;
  if (holding_->is_prepare() || loaded_token_ != holding_->token()) {
    return holding_->NeedsLoad() ? load_progress_.phase : v1::SLICE_PHASE_SAVING;
  }
  if (!lease_clock_.may_work(now_ms)) return v1::SLICE_PHASE_WAITING;
  return holding_->CanStep() || holding_->CanMakeResult() ? v1::SLICE_PHASE_TRAINING : v1::SLICE_PHASE_SAVING;
}

std::optional<v1::HeartbeatRequest> Agent::NextHeartbeat(int64_t now_ms) {
  if (is_heartbeat_out_ || end_ || !is_registered_ || now_ms < heartbeat_due_ms_) return std::nullopt;
  v1::HeartbeatRequest request;
  request.set_worker_id(registration_.worker_id());
  request.set_epoch(epoch_);
  if (holding_) {
    holding_->Report(*request.mutable_progress());
    request.mutable_progress()->set_phase(Phase(now_ms));
    request.mutable_progress()->set_planned_memory_bytes(load_progress_.planned_memory_bytes);
  }
  is_heartbeat_out_ = true;
  heartbeat_sent_ms_ = now_ms;
  heartbeat_asks_again_ = verdict_needed_;
  heartbeat_due_ms_ = now_ms + rules_.heartbeat_interval_ms();
  return request;
}

void Agent::OnHeartbeatEnd(int64_t now_ms, const absl::StatusOr<v1::HeartbeatReply>& reply) {
  RETORT_CHECK(is_heartbeat_out_);
  is_heartbeat_out_ = false;
  if (absl::IsAborted(reply.status())) return RegisterAgain();
  if (absl::IsUnimplemented(reply.status())) {
    end_ = reply.status();
    return;
  }
  if (absl::IsInvalidArgument(reply.status())) {
    FailSlice(v1::END_CAUSE_INFRASTRUCTURE, {}, absl::StrCat("Heartbeat: ", reply.status().ToString()));
  }
  if (!reply.ok()) {
    return Write(v1::LOG_LEVEL_WARNING, absl::StrCat("heartbeat: ", reply.status().ToString()));
  }
  if (reply->command() == v1::WORKER_COMMAND_LEAVE && !ending_) {
    ending_ = Ending{now_ms, std::nullopt, std::nullopt};
    Write(v1::LOG_LEVEL_INFO, "drained: gives back what it holds and leaves");
  }
  if (!holding_) return;
  if (reply->has_verdict() && reply->verdict().token() == holding_->token()) {
    if (heartbeat_asks_again_) verdict_needed_ = false;
    ObeyVerdict(now_ms, heartbeat_sent_ms_, reply->verdict());
  }
  if (ending_) holding_->YieldAll(v1::END_CAUSE_PREEMPTION);
}

void Agent::ObeyVerdict(int64_t now_ms, int64_t sent_ms, const v1::LeaseVerdict& verdict) {
  const bool was_asked = yield_since_ms_.has_value();
  if (verdict.action() != v1::LEASE_ACTION_YIELD) yield_since_ms_.reset();
  switch (verdict.action()) {
    case v1::LEASE_ACTION_CONTINUE:
      lease_clock_.Renew(sent_ms);
      break;
    case v1::LEASE_ACTION_YIELD:
      lease_clock_.Renew(sent_ms);
      if (!was_asked) yield_since_ms_ = now_ms;
      yield_within_ms_ = verdict.yield_within_ms();
      if (!was_asked) Write(v1::LOG_LEVEL_INFO, absl::StrCat("asked to yield: ", verdict.reason()));
      break;
    case v1::LEASE_ACTION_STOP:
      Write(v1::LOG_LEVEL_WARNING, absl::StrCat("told to stop: ", verdict.reason()));
      break;
    default:
      return FailSlice(v1::END_CAUSE_INFRASTRUCTURE, {},
                       "the orchestrator gave a verdict that this worker does not know");
  }
  holding_->ObeyVerdict(verdict);
}

// ---- what drives it

bool Agent::StopsCall(int64_t now_ms) const {
  if (!call_) return false;
  const bool is_leave = std::holds_alternative<v1::LeaveRequest>(*call_);
  if (end_) return true;
  const std::optional<int64_t> latest_ms = !ending_   ? std::nullopt
                                           : is_leave ? ending_->by_ms
                                                      : ending_->leave_ms;
  if (latest_ms && now_ms >= *latest_ms) return true;
  if (ending_ && std::holds_alternative<v1::LeaseRequest>(*call_)) return true;
  if (ending_ && !holding_ && std::holds_alternative<v1::RegisterRequest>(*call_)) return true;
  const UploadOrder* const upload = std::get_if<UploadOrder>(&*call_);
  if (upload == nullptr) return false;
  return publishes_.empty() || publishes_.front().saved != upload->saved || HasLostLayers(publishes_.front());
}

bool Agent::StopsWork(int64_t now_ms) const {
  if (!work_ || std::holds_alternative<CopyOrder>(*work_) || std::holds_alternative<DiscardOrder>(*work_)) {
    return false;
  }
  if (end_ || IsWorkStale()) return true;
  if (ending_ && ending_->leave_ms && now_ms >= *ending_->leave_ms) return true;
  if (!std::holds_alternative<StepOrder>(*work_)) return holding_->AllAskedBack();
  if (ending_ && ending_->by_ms) {
    const double passed_ms = static_cast<double>(now_ms - ending_->since_ms);
    if (passed_ms >= kStepShare * static_cast<double>(*ending_->by_ms - ending_->since_ms)) return true;
  }
  return yield_since_ms_ && holding_->AllAskedBack() &&
         static_cast<double>(now_ms - *yield_since_ms_) >= kStepShare * static_cast<double>(yield_within_ms_);
}

int64_t Agent::NextDueMs(int64_t now_ms) const {
  constexpr int64_t kLongestMs = 1'000;
  int64_t due_ms = now_ms + kLongestMs;
  const auto consider = [&](int64_t at_ms) {
    if (at_ms > now_ms) due_ms = std::min(due_ms, at_ms);
  };
  consider(heartbeat_due_ms_);
  consider(call_due_ms_);
  consider(load_due_ms_);
  if (ending_ && ending_->by_ms) {
    consider(*ending_->by_ms);
    consider(*ending_->leave_ms);
    consider(ending_->since_ms +
             static_cast<int64_t>(kStepShare * static_cast<double>(*ending_->by_ms - ending_->since_ms)) + 1);
  }
  return due_ms;
}

}  // namespace retort
