#include "orchestrator/coordinator/coordinator.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/status_macros.h"
#include "orchestrator/coordinator/request_rules.h"
#include "orchestrator/coordinator/stored_state.h"
#include "orchestrator/state/callers.h"
#include "orchestrator/state/gang.h"
#include "orchestrator/state/give_back.h"
#include "orchestrator/state/grant.h"
#include "orchestrator/state/invariants.h"
#include "orchestrator/state/membership.h"
#include "orchestrator/state/publish.h"
#include "orchestrator/state/replan.h"
#include "orchestrator/state/run_control.h"

namespace retort::orchestrator {
namespace {

// A publish without a chunk for so long is dropped (docs/protocol.md).
constexpr int64_t kPublishSilenceMs = 60'000;

absl::Status Nothing(Transaction&) { return absl::OkStatus(); }

// What the log says a change is about: the run and lease that its first event names.
LogContext ContextOf(const Changes& changes) {
  if (changes.events.empty()) return {};
  const v1::EventRecord& event = changes.events.front();
  return {event.run_id(), event.stage(), event.token(), event.steps().empty() ? 0 : event.steps(0)};
}

// The records of a publish's checkpoints but for what CheckpointWriter fills in.
std::vector<v1::ManifestRecord> DeclareManifests(const Moment& now, const v1::LeaseRecord& lease,
                                                 const v1::BeginPublishRequest& request) {
  std::vector<v1::ManifestRecord> manifests;
  for (const v1::LayerCheckpoint& layer : request.layers()) {
    v1::ManifestRecord& manifest = manifests.emplace_back();
    manifest.set_run_id(lease.run_id());
    manifest.set_stage(lease.stage());
    manifest.set_layer(layer.layer());
    manifest.set_kind(request.kind());
    manifest.set_token(request.token());
    manifest.set_step(layer.step());
    manifest.set_loss(layer.loss());
    manifest.set_identity_sha256(request.identity_sha256());
    manifest.set_created_unix_ms(now.unix_ms);
    for (const v1::TensorInfo& info : layer.tensors()) *manifest.add_tensors()->mutable_info() = info;
  }
  return manifests;
}

v1::BeginPublishRequest WithoutTensors(v1::BeginPublishRequest request) {
  for (v1::LayerCheckpoint& layer : *request.mutable_layers()) layer.clear_tensors();
  return request;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Start(Store& store, const Options& options,
                                                                std::function<Moment()> now, Log& log) {
  auto coordinator = std::unique_ptr<Coordinator>(new Coordinator(store, options, std::move(now), log));
  RETURN_IF_ERROR(coordinator->Load());
  return coordinator;
}

absl::Status Coordinator::Load() {
  ASSIGN_OR_RETURN(StoredRecords records, ReadRecords(store_));
  MutexLock commit(commit_mutex_);
  Changes start;
  {
    MutexLock lock(state_mutex_);
    RETURN_IF_ERROR(store_.Scan<EventKey>(EventsFrom(0),
                                          [this](const EventKey& key, const v1::EventRecord& event)
                                              ABSL_NO_THREAD_SAFETY_ANALYSIS {
                                                events_of_run_[event.run_id()].push_back(key.sequence);
                                                last_event_ = key.sequence;
                                                return absl::OkStatus();
                                              }));
    const Moment now = now_();
    state_ = LoadState(now, options_, std::move(records));
    const std::vector<std::string> wrong = CheckInvariants(state_);
    if (!wrong.empty()) {
      return absl::DataLossError(absl::StrCat("the store in ", store_.directory().string(),
                                              " does not fit together: ", wrong.front(),
                                              "; restore a backup"));
    }
    v1::EventRecord& event = start.events.emplace_back();
    event.set_time_unix_ms(now.unix_ms);
    event.set_kind(v1::EVENT_KIND_ORCHESTRATOR_STARTED);
    event.set_text(absl::StrCat("epoch ", state_.epoch, ", ", state_.runs.size(), " runs, ",
                                state_.leases.size(), " leases with ", options_.lease_ttl_ms,
                                " ms of grace"));
    start.placement_stale = true;
  }
  const std::string reason = absl::StrCat("started: ", start.events.front().text());
  return Persist(start, reason, Nothing);
}

void Coordinator::End(const absl::Status& why) {
  if (!failure_.ok()) return;
  failure_ = absl::UnavailableError(
      absl::StrCat("the orchestrator ends: ", why.message(), "; repeat the call until another one answers"));
  log_.Error(failure_.message());
}

absl::Status Coordinator::failure() const {
  MutexLock lock(state_mutex_);
  return failure_;
}

State Coordinator::state() const {
  MutexLock lock(state_mutex_);
  return state_;
}

absl::Status Coordinator::Transact(Body body) {
  bool body_is_ok = false;
  const absl::Status status = store_.Transact([&](Transaction& transaction) {
    const absl::Status written = body(transaction);
    body_is_ok = written.ok();
    return written;
  });
  // INVALID_ARGUMENT: a record was refused before the commit.
  if (status.ok() || !body_is_ok || absl::IsInvalidArgument(status)) return status;
  MutexLock lock(state_mutex_);
  End(status);
  return failure_;
}

void Coordinator::SetInFlight(const Changes& changes) {
  for (const orchestrator::Lease& lease : changes.lease_states)
    in_flight_.tokens.insert(lease.record.token());
  in_flight_.tokens.insert(changes.ended_leases.begin(), changes.ended_leases.end());
  for (const Worker& worker : changes.workers) in_flight_.workers.insert(worker.id());
  in_flight_.workers.insert(changes.removed_workers.begin(), changes.removed_workers.end());
}

absl::Status Coordinator::Persist(const Changes& changes, const std::string& reason, Body also) {
  std::vector<v1::EventRecord> events;
  const absl::Status written = Transact([&](Transaction& transaction) -> absl::Status {
    ASSIGN_OR_RETURN(events, WriteChanges(changes, transaction));
    return also(transaction);
  });
  {
    MutexLock lock(state_mutex_);
    in_flight_ = {};
    RETURN_IF_ERROR(written);
    Apply(changes, state_);
    for (const uint64_t run_id : changes.deleted_runs) events_of_run_.erase(run_id);
    for (const v1::EventRecord& event : events) {
      events_of_run_[event.run_id()].push_back(event.sequence());
      last_event_ = event.sequence();
    }
  }
  ++changes_;
  publishes_.DropOfTokens(changes.ended_leases);
  if (!reason.empty()) log_.Info(reason, ContextOf(changes));
  return absl::OkStatus();
}

template <class Reply, class Decide>
Decision<Reply> Coordinator::MakeDecision(const Decide& decide) {
  MutexLock lock(state_mutex_);
  Decision<Reply> decision;
  decision.status = failure_;
  if (!failure_.ok()) return decision;
  const Moment now = now_();
  decision = decide(now, state_, options_);
  const Changes& changes = decision.changes;
  if (absl::IsUnavailable(decision.status)) {
    End(decision.status);
    decision.status = failure_;
  } else if (!changes.is_durable()) {
    Apply(changes, state_);
    if (changes.placement_stale || changes.placement) ++changes_;
  } else {
    SetInFlight(changes);
  }
  return decision;
}

template <class Reply, class Decide>
absl::StatusOr<Reply> Coordinator::DoAlone(const Decide& decide, Body also) {
  Decision<Reply> decision = MakeDecision<Reply>(decide);
  const bool accepted = decision.status.ok();
  if (decision.changes.is_durable()) {
    const std::string reason = accepted ? decision.reason : std::string(decision.status.message());
    RETURN_IF_ERROR(Persist(decision.changes, reason, accepted ? also : Body(Nothing)));
  }
  if (!accepted) return decision.status;
  return std::move(decision.reply);
}

template <class Reply, class Decide>
absl::StatusOr<Reply> Coordinator::Do(const Decide& decide) {
  MutexLock commit(commit_mutex_);
  return DoAlone<Reply>(decide, Nothing);
}

absl::StatusOr<v1::RegisterReply> Coordinator::Register(const v1::RegisterRequest& request) {
  RETURN_IF_ERROR(CheckRequest(request));
  return Do<v1::RegisterReply>([&](const Moment& now, const State& state, const Options& options) {
    return DecideRegister(now, state, options, request);
  });
}

absl::StatusOr<v1::LeaseReply> Coordinator::Lease(const v1::LeaseRequest& request) {
  return Do<v1::LeaseReply>([&](const Moment& now, const State& state, const Options& options) {
    return DecideLease(now, state, options, request);
  });
}

std::optional<absl::StatusOr<v1::HeartbeatReply>> Coordinator::TryHeartbeat(
    const v1::HeartbeatRequest& request) {
  const absl::Status checked = CheckRequest(request);
  if (!checked.ok()) return checked;
  MutexLock lock(state_mutex_);
  if (!failure_.ok()) return failure_;
  if (in_flight_.workers.contains(request.worker_id()) ||
      in_flight_.tokens.contains(request.progress().token())) {
    return std::nullopt;
  }
  const Moment now = now_();
  Decision<v1::HeartbeatReply> decision = DecideHeartbeat(now, state_, options_, request);
  RETORT_CHECK(!decision.changes.is_durable());
  if (absl::IsUnavailable(decision.status)) {
    End(decision.status);
    return failure_;
  }
  if (!decision.status.ok()) return decision.status;
  Apply(decision.changes, state_);
  return std::move(decision.reply);
}

absl::StatusOr<v1::HeartbeatReply> Coordinator::Heartbeat(const v1::HeartbeatRequest& request) {
  std::optional<absl::StatusOr<v1::HeartbeatReply>> reply = TryHeartbeat(request);
  if (!reply) {
    MutexLock commit(commit_mutex_);
    reply = TryHeartbeat(request);
  }
  return *std::move(reply);
}

absl::StatusOr<v1::BeginPublishReply> Coordinator::BeginPublish(const v1::BeginPublishRequest& request) {
  RETURN_IF_ERROR(CheckRequest(request));
  MutexLock commit(commit_mutex_);
  std::vector<v1::ManifestRecord> manifests;
  const auto decide = [&](const Moment& now, const State& state, const Options& options) {
    Decision<NoReply> decision = DecideBeginPublish(now, state, options, request);
    if (decision.status.ok()) {
      manifests = DeclareManifests(now, state.FindLease(request.token())->record, request);
    }
    return decision;
  };
  RETURN_IF_ERROR(DoAlone<NoReply>(decide, Nothing).status());
  publishes_.DropOfWorker(request.worker_id());
  std::unique_ptr<CheckpointWriter> writer;
  RETURN_IF_ERROR(Transact([&](Transaction& transaction) -> absl::Status {
    ASSIGN_OR_RETURN(writer, CheckpointWriter::Begin(store_, transaction, std::move(manifests)));
    return absl::OkStatus();
  }));
  v1::BeginPublishReply reply;
  reply.set_publish(writer->publish());
  for (const CheckpointWriter::Place& place : writer->missing()) {
    v1::TensorIndex& missing = *reply.add_missing();
    missing.set_layer(request.layers(static_cast<int>(place.manifest)).layer());
    missing.set_tensor(place.tensor);
  }
  publishes_.Add(std::make_shared<Publish>(WithoutTensors(request), std::move(writer)), now_().steady_ms);
  return reply;
}

absl::Status Coordinator::RefuseUpload(const v1::UploadHeader& header) {
  return Do<NoReply>([&](const Moment&, const State& state, const Options&) {
           Decision<NoReply> decision;
           decision.status = CheckCaller(state, header.worker_id(), header.epoch());
           if (decision.status.ok()) {
             decision.status = absl::NotFoundError(
                 absl::StrCat("publish ", header.publish(), " is not under way: begin again"));
           }
           return decision;
         })
      .status();
}

absl::Status Coordinator::OpenUpload(const v1::UploadHeader& header) {
  bool is_known = false;
  {
    MutexLock lock(state_mutex_);
    RETURN_IF_ERROR(failure_);
    is_known = CheckCaller(state_, header.worker_id(), header.epoch()).ok();
  }
  const bool is_under_way = is_known && publishes_.Await(header.worker_id(), header.publish()) != nullptr;
  return is_under_way ? absl::OkStatus() : RefuseUpload(header);
}

absl::Status Coordinator::StartUpload(const v1::UploadHeader& header) {
  const bool is_under_way =
      publishes_.Touch(header.worker_id(), header.publish(), now_().steady_ms) != nullptr;
  return is_under_way ? absl::OkStatus() : RefuseUpload(header);
}

absl::Status Coordinator::AppendChunk(const v1::UploadHeader& header, const v1::TensorChunk& chunk) {
  const std::shared_ptr<Publish> publish =
      publishes_.Touch(header.worker_id(), header.publish(), now_().steady_ms);
  if (publish == nullptr) return RefuseUpload(header);
  absl::Status appended;
  {
    MutexLock lock(publish->mutex);
    appended = publish->writer->Append(chunk.index(), chunk.offset_bytes(), chunk.crc32c(), chunk.data());
  }
  if (!appended.ok()) DropPublish(header);
  return appended;
}

absl::Status Coordinator::FinishUpload(const v1::UploadHeader& header) {
  const std::shared_ptr<Publish> publish =
      publishes_.Touch(header.worker_id(), header.publish(), now_().steady_ms);
  if (publish == nullptr) return RefuseUpload(header);
  absl::Status finished;
  {
    MutexLock lock(publish->mutex);
    finished = publish->writer->Finish();
  }
  if (!finished.ok()) DropPublish(header);
  return finished;
}

void Coordinator::DropPublish(const v1::UploadHeader& header) {
  publishes_.Drop(header.worker_id(), header.publish());
}

absl::StatusOr<v1::CommitPublishReply> Coordinator::CommitPublish(const v1::CommitPublishRequest& request) {
  std::shared_ptr<Publish> publish =
      publishes_.Touch(request.worker_id(), request.publish(), now_().steady_ms);
  std::vector<v1::ManifestRecord> manifests;
  if (publish != nullptr) {
    // Before the lock: this waits for the disk. What it makes durable counts only with the rows.
    MutexLock lock(publish->mutex);
    const absl::Status finished = publish->writer->Finish();
    if (!finished.ok()) {
      publishes_.Drop(request.worker_id(), request.publish());
      return finished;
    }
    manifests = publish->writer->manifests();
  }
  MutexLock commit(commit_mutex_);
  publish = publishes_.Find(request.worker_id(), request.publish());  // perhaps it was dropped meanwhile
  const auto decide = [&](const Moment& now, const State& state, const Options& options) {
    return DecideCommitPublish(now, state, options, request,
                               publish == nullptr ? nullptr : &publish->request);
  };
  const auto also = [&](Transaction& transaction) { return WriteManifests(manifests, transaction); };
  ASSIGN_OR_RETURN(v1::CommitPublishReply reply, DoAlone<v1::CommitPublishReply>(decide, also));
  publishes_.Drop(request.worker_id(), request.publish());
  return reply;
}

absl::StatusOr<std::unique_ptr<CheckpointReader>> Coordinator::FetchCheckpoint(
    const v1::FetchCheckpointRequest& request) {
  {
    MutexLock lock(state_mutex_);
    RETURN_IF_ERROR(failure_);
    RETURN_IF_ERROR(CheckCaller(state_, request.worker_id(), request.epoch()));
  }
  RETURN_IF_ERROR(CheckRequest(request));
  const v1::CheckpointRef& checkpoint = request.checkpoint();
  return CheckpointReader::Open(
      store_, {request.run_id(), checkpoint.stage(), checkpoint.layer(), checkpoint.publish()},
      request.name_prefix());
}

absl::StatusOr<v1::CompleteReply> Coordinator::Complete(const v1::CompleteRequest& request) {
  RETURN_IF_ERROR(CheckRequest(request));
  return Do<v1::CompleteReply>([&](const Moment& now, const State& state, const Options& options) {
    return DecideComplete(now, state, options, request);
  });
}

absl::StatusOr<v1::FailReply> Coordinator::Fail(const v1::FailRequest& request) {
  return Do<v1::FailReply>([&](const Moment& now, const State& state, const Options& options) {
    return DecideFail(now, state, options, request);
  });
}

absl::StatusOr<v1::ReleaseLeaseReply> Coordinator::ReleaseLease(const v1::ReleaseLeaseRequest& request) {
  return Do<v1::ReleaseLeaseReply>([&](const Moment& now, const State& state, const Options& options) {
    return DecideReleaseLease(now, state, options, request);
  });
}

absl::StatusOr<v1::LeaveReply> Coordinator::Leave(const v1::LeaveRequest& request) {
  return Do<v1::LeaveReply>([&](const Moment& now, const State& state, const Options& options) {
    return DecideLeave(now, state, options, request);
  });
}

absl::StatusOr<v1::JoinGangReply> Coordinator::JoinGang(const v1::JoinGangRequest& request) {
  return Do<v1::JoinGangReply>([&](const Moment& now, const State& state, const Options& options) {
    return DecideJoinGang(now, state, options, request);
  });
}

absl::StatusOr<v1::RendezvousReply> Coordinator::Rendezvous(const v1::RendezvousRequest& request) {
  uint64_t run_id = 0;
  {
    MutexLock lock(state_mutex_);
    RETURN_IF_ERROR(failure_);
    RETURN_IF_ERROR(CheckMember(state_, request, run_id));
  }
  return rendezvous_.Do(run_id, request);
}

absl::StatusOr<v1::SubmitReply> Coordinator::Submit(const v1::SubmitRequest& request) {
  return Do<v1::SubmitReply>([&](const Moment& now, const State& state, const Options& options) {
    return DecideSubmit(now, state, options, request);
  });
}

absl::StatusOr<v1::PauseReply> Coordinator::Pause(const v1::PauseRequest& request) {
  return Do<v1::PauseReply>([&](const Moment& now, const State& state, const Options& options) {
    return DecidePause(now, state, options, request);
  });
}

absl::StatusOr<v1::ResumeReply> Coordinator::Resume(const v1::ResumeRequest& request) {
  return Do<v1::ResumeReply>([&](const Moment& now, const State& state, const Options& options) {
    return DecideResume(now, state, options, request);
  });
}

absl::StatusOr<v1::CancelReply> Coordinator::Cancel(const v1::CancelRequest& request) {
  return Do<v1::CancelReply>([&](const Moment& now, const State& state, const Options& options) {
    return DecideCancel(now, state, options, request);
  });
}

absl::StatusOr<v1::RetryReply> Coordinator::Retry(const v1::RetryRequest& request) {
  return Do<v1::RetryReply>([&](const Moment& now, const State& state, const Options& options) {
    return DecideRetry(now, state, options, request);
  });
}

absl::StatusOr<v1::DeleteReply> Coordinator::Delete(const v1::DeleteRequest& request) {
  MutexLock commit(commit_mutex_);
  uint64_t run_id = 0;
  const auto decide = [&](const Moment& now, const State& state, const Options& options) {
    Decision<v1::DeleteReply> decision = DecideDelete(now, state, options, request);
    run_id = decision.reply.run_id();
    return decision;
  };
  const auto also = [&](Transaction& transaction) {
    MutexLock lock(state_mutex_);
    for (const uint64_t sequence : events_of_run_[run_id]) transaction.Delete(EventKey{sequence});
    return absl::OkStatus();
  };
  return DoAlone<v1::DeleteReply>(decide, also);
}

absl::StatusOr<v1::DrainWorkerReply> Coordinator::DrainWorker(const v1::DrainWorkerRequest& request) {
  return Do<v1::DrainWorkerReply>([&](const Moment& now, const State& state, const Options& options) {
    return DecideDrainWorker(now, state, options, request);
  });
}

int64_t Coordinator::Tick() {
  publishes_.DropSilentSince(now_().steady_ms - kPublishSilenceMs);
  // Nobody waits for the answer; what stopped it is in failure().
  Do<NoReply>([](const Moment& now, const State& state, const Options& options) {
    return DecideSweep(now, state, options);
  }).IgnoreError();
  Replan();
  MutexLock lock(state_mutex_);
  rendezvous_.Keep([this](uint64_t run_id) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    const auto run = state_.runs.find(run_id);
    return run != state_.runs.end() && !IsEnded(run->second.record.state());
  });
  const Moment now = now_();
  return NextDueSteadyMs(now, state_, options_);
}

void Coordinator::Replan() {
  MutexLock commit(commit_mutex_);
  const Moment now = now_();
  State copy;
  {
    MutexLock lock(state_mutex_);
    if (!failure_.ok() || NextReplanSteadyMs(now, state_, options_) > now.steady_ms) return;
    copy = state_;
  }
  // On a copy, since it can take long, and heartbeats need not wait for it.
  Decision<NoReply> plan = DecideReplan(now, copy, options_);
  {
    MutexLock lock(state_mutex_);
    KeepRenewals(state_, plan.changes);
    if (!plan.changes.is_durable()) {
      Apply(plan.changes, state_);
      ++changes_;
      return;
    }
    SetInFlight(plan.changes);
  }
  Persist(plan.changes, plan.reason, Nothing).IgnoreError();
}

}  // namespace retort::orchestrator
