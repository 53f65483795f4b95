// Which call is made next, and what its end means.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/backoff.h"
#include "core/base/check.h"
#include "worker/agent/agent.h"

namespace retort {
namespace {

template <class Request>
Request Addressed(uint64_t worker_id, uint64_t epoch) {
  Request request;
  request.set_worker_id(worker_id);
  request.set_epoch(epoch);
  return request;
}

// The same for a call under a lease, which names layers.
template <class Request>
Request ForLayers(uint64_t worker_id, uint64_t epoch, uint64_t token, const std::vector<uint32_t>& layers) {
  auto request = Addressed<Request>(worker_id, epoch);
  request.set_token(token);
  request.mutable_layers()->Add(layers.begin(), layers.end());
  return request;
}

bool IsOfPublish(const AgentCall& call) {
  return std::holds_alternative<DescribeOrder>(call) ||
         std::holds_alternative<v1::BeginPublishRequest>(call) || std::holds_alternative<UploadOrder>(call) ||
         std::holds_alternative<v1::CommitPublishRequest>(call);
}

const char* NameOf(const AgentCall& call) {
  constexpr const char* kNames[] = {"Register",      "Lease",    "digests", "BeginPublish", "UploadChunks",
                                    "CommitPublish", "Complete", "Fail",    "ReleaseLease", "Leave"};
  return kNames[call.index()];
}

// What an orchestrator says is missing must be there.
bool HasAll(const std::vector<SavedLayer>& saved, const v1::BeginPublishReply& reply) {
  return std::all_of(reply.missing().begin(), reply.missing().end(), [&](const v1::TensorIndex& place) {
    return std::any_of(saved.begin(), saved.end(), [&](const SavedLayer& layer) {
      return layer.layer == place.layer() && place.tensor() < layer.tensors.size();
    });
  });
}

}  // namespace

std::optional<AgentCall> Agent::NextCall(int64_t now_ms) {
  if (call_ || end_) return std::nullopt;
  call_ = ChooseCall(now_ms);
  return call_;
}

std::optional<AgentCall> Agent::ChooseCall(int64_t now_ms) {
  const uint64_t id = registration_.worker_id();
  if (ending_ && ending_->by_ms && now_ms >= *ending_->by_ms) {
    end_ = absl::DeadlineExceededError("the grace was over before the orchestrator heard the good-bye");
    return std::nullopt;
  }
  if (ending_ && epoch_ == 0) {  // no Register was answered, so nothing is held
    end_ = absl::OkStatus();
    return std::nullopt;
  }
  if (now_ms < call_due_ms_) return std::nullopt;
  const bool gives_up = ending_ && ending_->leave_ms && now_ms >= *ending_->leave_ms;
  if (ending_ && (gives_up || !holding_)) return Addressed<v1::LeaveRequest>(id, epoch_);
  if (!is_registered_) return registration_;
  if (!holding_) return Addressed<v1::LeaseRequest>(id, epoch_);
  return ChooseSliceCall(now_ms);
}

std::optional<AgentCall> Agent::ChooseSliceCall(int64_t now_ms) {
  const uint64_t id = registration_.worker_id();
  const uint64_t token = holding_->token();
  if (failure_) {
    auto fail = ForLayers<v1::FailRequest>(id, epoch_, token, failure_->layers);
    fail.set_cause(failure_->cause);
    fail.set_message(failure_->message);
    return fail;
  }
  if (verdict_needed_) return std::nullopt;
  const Holding::GiveBack back = holding_->ToGiveBack();
  if (!back.layers.empty()) {
    auto release = ForLayers<v1::ReleaseLeaseRequest>(id, epoch_, token, back.layers);
    release.set_cause(back.cause);
    return release;
  }
  const std::vector<uint32_t> completed = holding_->ToComplete();
  if (!completed.empty()) {
    auto complete = ForLayers<v1::CompleteRequest>(id, epoch_, token, completed);
    if (prepared_) *complete.mutable_prepared() = *prepared_;
    return complete;
  }
  return ChoosePublishCall(now_ms);
}

std::optional<AgentCall> Agent::ChoosePublishCall(int64_t now_ms) {
  if (publishes_.empty()) return std::nullopt;
  Publish& publish = publishes_.front();
  const uint64_t id = registration_.worker_id();
  if (publish.stage == Publish::Stage::kDescribe) return DescribeOrder{publish.saved};
  if (HasLostLayers(publish)) publish.stage = Publish::Stage::kBegin;
  if (publish.stage == Publish::Stage::kBegin) {
    if (!lease_clock_.may_work(now_ms)) return std::nullopt;
    auto begin = Addressed<v1::BeginPublishRequest>(id, epoch_);
    begin.set_token(holding_->token());
    begin.set_kind(publish.kind);
    begin.set_identity_sha256(holding_->slice().identity_sha256());
    for (const v1::LayerCheckpoint& layer : publish.described) {
      if (holding_->NeedsPublish(layer.layer())) *begin.add_layers() = layer;
    }
    if (begin.layers().empty()) {
      DropPublish();
      return ChoosePublishCall(now_ms);
    }
    publish.begun = begin;
    return begin;
  }
  if (publish.stage == Publish::Stage::kUpload) {
    UploadOrder upload = {.header = {}, .saved = publish.saved, .missing = publish.missing};
    upload.header.set_worker_id(id);
    upload.header.set_epoch(epoch_);
    upload.header.set_publish(publish.number);
    return upload;
  }
  auto commit = Addressed<v1::CommitPublishRequest>(id, epoch_);
  commit.set_token(holding_->token());
  commit.set_publish(publish.number);
  return commit;
}

void Agent::OnCallEnd(int64_t now_ms, const absl::Status& status, AgentReply reply) {
  RETORT_CHECK(call_.has_value());
  const AgentCall call = *std::exchange(call_, std::nullopt);
  if (end_) return;
  if (status.ok()) {
    call_failures_ = 0;
    call_due_ms_ = now_ms;
  }
  if (IsOfPublish(call)) return OnPublishCallEnd(now_ms, call, status, std::move(reply));
  if (!status.ok()) return OnCallError(now_ms, call, status);
  if (std::holds_alternative<v1::LeaveRequest>(call)) {
    end_ = absl::OkStatus();
  } else if (std::holds_alternative<v1::RegisterRequest>(call)) {
    OnRegistered(now_ms, std::get<v1::RegisterReply>(reply));
  } else if (std::holds_alternative<v1::LeaseRequest>(call)) {
    OnLease(now_ms, std::get<v1::LeaseReply>(reply));
  } else if (std::holds_alternative<v1::FailRequest>(call)) {
    EndHolding();
  } else if (const auto* complete = std::get_if<v1::CompleteRequest>(&call)) {
    OnGiven({complete->layers().begin(), complete->layers().end()});
  } else if (const auto* release = std::get_if<v1::ReleaseLeaseRequest>(&call)) {
    OnGiven({release->layers().begin(), release->layers().end()});
  }
}

void Agent::OnRegistered(int64_t now_ms, const v1::RegisterReply& reply) {
  epoch_ = reply.epoch();
  rules_ = reply;
  is_registered_ = true;
  heartbeat_due_ms_ = now_ms;
  Write(v1::LOG_LEVEL_INFO, absl::StrCat("registered at epoch ", epoch_));
}

void Agent::OnLease(int64_t now_ms, const v1::LeaseReply& reply) {
  if (ending_) return;  // Leave gives it back
  if (!reply.has_slice()) return Write(v1::LOG_LEVEL_DEBUG, absl::StrCat("no slice: ", reply.reason()));
  const v1::Slice& slice = reply.slice();
  holding_.emplace(slice);
  lease_clock_ = LeaseClock(rules_.lease_ttl_ms(), rules_.lease_margin_ms());
  load_progress_ = {};
  heartbeat_due_ms_ = now_ms;
  Write(v1::LOG_LEVEL_INFO,
        absl::StrCat("granted ", slice.layers_size(), " layers from ",
                     slice.layers_size() == 0 ? 0 : slice.layers(0).layer(), " on: ", reply.reason()));
  const bool knows_input = holding_->is_prepare() || slice.input() == v1::INPUT_SOURCE_RECOMPUTE ||
                           slice.input() == v1::INPUT_SOURCE_RELAY;
  const bool knows_stage = v1::Stage_IsValid(slice.stage()) && slice.stage() != v1::STAGE_UNSPECIFIED;
  if (slice.layers().empty()) {
    EndHolding();
    BackOff(now_ms);
  } else if (!knows_stage || !knows_input) {
    FailSlice(v1::END_CAUSE_INFRASTRUCTURE, {},
              absl::StrCat("this worker does not know stage ", slice.stage(), " with input source ",
                           slice.input(), ": it is older than the orchestrator"));
  }
}

void Agent::OnGiven(const std::vector<uint32_t>& layers) {
  if (!holding_) return;
  holding_->OnGone(layers);
  if (holding_->layers().empty()) EndHolding();
}

void Agent::OnCallError(int64_t now_ms, const AgentCall& call, const absl::Status& status) {
  const std::string what = absl::StrCat(NameOf(call), ": ", status.ToString());
  const bool is_register = std::holds_alternative<v1::RegisterRequest>(call);
  const bool is_refused = absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status);
  if (absl::IsCancelled(status)) return;  // StopsCall
  Write(v1::LOG_LEVEL_WARNING, what);
  if (absl::IsUnimplemented(status) || (is_register && is_refused)) {
    end_ = status;
  } else if (absl::IsAborted(status)) {
    RegisterAgain();
    BackOff(now_ms);
  } else if (is_refused && std::holds_alternative<v1::FailRequest>(call)) {
    EndHolding();
  } else if (is_refused && holding_) {
    FailSlice(v1::END_CAUSE_INFRASTRUCTURE, {}, what);
  } else if (std::holds_alternative<v1::LeaveRequest>(call)) {
    call_due_ms_ = now_ms + RepeatWaitMs(1, Draw());  // there is little time
  } else {
    BackOff(now_ms);
  }
}

// ---- publishes

void Agent::DropPublish() {
  if (publishes_.front().kind == v1::PUBLISH_KIND_CHECKPOINT && holding_) {
    for (const SavedLayer& layer : *publishes_.front().saved) holding_->ForgetCopy(layer.layer);
  }
  publishes_.pop_front();
}

// A publish of these would be refused, or is of no use: it begins again without them.
bool Agent::HasLostLayers(const Publish& publish) const {
  return std::any_of(
      publish.begun.layers().begin(), publish.begun.layers().end(),
      [&](const v1::LayerCheckpoint& layer) { return !holding_->NeedsPublish(layer.layer()); });
}

void Agent::OnBegun(const absl::StatusOr<v1::BeginPublishReply>& reply, int64_t now_ms) {
  Publish& publish = publishes_.front();
  if (reply.ok()) {
    if (!HasAll(*publish.saved, *reply)) {
      return FailSlice(v1::END_CAUSE_INFRASTRUCTURE, {},
                       "BeginPublish misses a tensor that was not declared");
    }
    publish.number = reply->publish();
    publish.missing.assign(reply->missing().begin(), reply->missing().end());
    publish.stage = publish.missing.empty() ? Publish::Stage::kCommit : Publish::Stage::kUpload;
    return;
  }
  const bool is_needed =
      publish.kind == v1::PUBLISH_KIND_RESULT ||
      std::any_of(publish.saved->begin(), publish.saved->end(),
                  [&](const SavedLayer& layer) { return holding_->MustPublish(layer.layer); });
  if (absl::IsResourceExhausted(reply.status()) && !is_needed) {
    Write(v1::LOG_LEVEL_WARNING, absl::StrCat("publishes at the next interval: ", reply.status().ToString()));
    return DropPublish();
  }
  OnCallError(now_ms, v1::BeginPublishRequest(), reply.status());
}

void Agent::OnPublishCallEnd(int64_t now_ms, const AgentCall& call, const absl::Status& status,
                             AgentReply reply) {
  // Dropped, or the slice failed, while the call was under way.
  if (publishes_.empty() || !holding_ || failure_) return;
  Publish& publish = publishes_.front();
  if (const auto* describe = std::get_if<DescribeOrder>(&call)) {
    if (describe->saved != publish.saved || !status.ok()) return;
    publish.described = std::get<std::vector<v1::LayerCheckpoint>>(std::move(reply));
    publish.stage = Publish::Stage::kBegin;
  } else if (std::holds_alternative<v1::BeginPublishRequest>(call)) {
    if (publish.stage != Publish::Stage::kBegin) return;
    if (!status.ok()) return OnBegun(status, now_ms);
    OnBegun(std::get<v1::BeginPublishReply>(reply), now_ms);
  } else if (const auto* upload = std::get_if<UploadOrder>(&call)) {
    if (upload->saved != publish.saved) return;
    publish.stage = status.ok() ? Publish::Stage::kCommit : Publish::Stage::kBegin;
    const bool begins_again = absl::IsNotFound(status) || absl::IsDataLoss(status);
    if (begins_again) Write(v1::LOG_LEVEL_WARNING, absl::StrCat("UploadChunks: ", status.ToString()));
    if (begins_again) return BackOff(now_ms);
    if (!status.ok()) OnCallError(now_ms, call, status);
  } else if (const auto* commit = std::get_if<v1::CommitPublishRequest>(&call)) {
    if (publish.stage != Publish::Stage::kCommit || commit->publish() != publish.number) return;
    if (status.ok()) {
      holding_->OnPublished(publish.begun);
      Write(v1::LOG_LEVEL_INFO,
            absl::StrCat("published ", publish.begun.layers_size(), " layers as ", publish.number));
      publishes_.pop_front();
    } else if (absl::IsNotFound(status) || absl::IsFailedPrecondition(status)) {
      Write(v1::LOG_LEVEL_WARNING, absl::StrCat("CommitPublish: ", status.ToString()));
      publish.stage = Publish::Stage::kBegin;
      BackOff(now_ms);
    } else {
      OnCallError(now_ms, call, status);
    }
  }
}

}  // namespace retort
