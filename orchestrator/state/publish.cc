#include "orchestrator/state/publish.h"

#include <algorithm>
#include <functional>

#include "absl/strings/str_cat.h"
#include "orchestrator/state/callers.h"
#include "orchestrator/state/draft.h"
#include "orchestrator/state/gang.h"
#include "orchestrator/state/lease_end.h"
#include "orchestrator/state/model_work.h"
#include "orchestrator/state/prepared.h"

namespace retort::orchestrator {
namespace {

std::vector<uint32_t> LayersOf(const v1::BeginPublishRequest& request) {
  std::vector<uint32_t> layers;
  for (const v1::LayerCheckpoint& layer : request.layers()) layers.push_back(layer.layer());
  return layers;
}

absl::Status CheckDescription(const v1::BeginPublishRequest& request) {
  if (request.kind() != v1::PUBLISH_KIND_CHECKPOINT && request.kind() != v1::PUBLISH_KIND_RESULT) {
    return absl::InvalidArgumentError("BeginPublish: kind is neither CHECKPOINT nor RESULT");
  }
  const std::vector<uint32_t> layers = LayersOf(request);
  if (std::adjacent_find(layers.begin(), layers.end(), std::greater_equal<>()) != layers.end()) {
    return absl::InvalidArgumentError("BeginPublish: layers are not ascending");
  }
  return absl::OkStatus();
}

// What the rows and the run allow; the token was checked.
absl::Status CheckPublish(const Draft& draft, const Lease& lease, const v1::BeginPublishRequest& request) {
  const v1::RunRecord& run = draft.run(lease.record.run_id());
  const v1::Stage stage = lease.record.stage();
  const std::string what = absl::StrCat("publish under token ", request.token());
  if (stage == v1::STAGE_PREPARE)
    return absl::FailedPreconditionError(absl::StrCat(what, ": PREPARE publishes nothing"));
  if (request.identity_sha256() != run.identity_sha256()) {
    return absl::FailedPreconditionError(
        absl::StrCat(what, " has another identity than ", NameOf(run), ": other inputs or numerics"));
  }
  const bool is_result = request.kind() == v1::PUBLISH_KIND_RESULT;
  if (is_result && stage != v1::STAGE_END_TO_END) {
    return absl::FailedPreconditionError(absl::StrCat(what, ": a RESULT in ", StageName(stage)));
  }
  for (const v1::LayerCheckpoint& layer : request.layers()) {
    if (stage == v1::STAGE_END_TO_END && layer.layer() != 0) {
      return absl::FailedPreconditionError(
          absl::StrCat(what, ": rank ", layer.layer(), " publishes nothing, rank 0 does"));
    }
    const v1::TaskRecord& task = draft.task(run.run_id(), {stage, layer.layer()});
    const uint64_t least = is_result ? task.total_steps() : task.step();
    if (layer.step() < least || layer.step() > task.total_steps()) {
      return absl::FailedPreconditionError(absl::StrCat(what, ": layer ", layer.layer(), " at step ",
                                                        layer.step(), ", which is not within ", least, " to ",
                                                        task.total_steps()));
    }
  }
  return absl::OkStatus();
}

// A step of a gang is as much work as its ranks do together: those of its generation, which may be fewer than
// the run's where it is elastic.
double RanksThatStep(const Draft& draft, const v1::TaskRecord& task) {
  if (task.stage() != v1::STAGE_END_TO_END) return 1;
  const size_t members = draft.state().run(task.run_id()).gang.members.size();
  return members > 0 ? static_cast<double>(members) : draft.run(task.run_id()).world_size();
}

// What was measured goes with the step, and plans the run's later slices.
void KeepMeasured(const Draft& draft, const Lease& lease, v1::TaskRecord& task) {
  const Worker* const worker = draft.FindWorker(lease.record.worker_id());
  for (const v1::LayerProgress& layer : lease.progress.layers()) {
    if (layer.layer() != task.layer() || !(layer.train_seconds_per_step() > 0) || worker == nullptr) continue;
    task.set_train_seconds_per_step(layer.train_seconds_per_step() * RanksThatStep(draft, task));
    task.set_teacher_seconds_per_step(lease.progress.teacher_seconds_per_step());
    task.set_measured_gflops(worker->speed_gflops());
    if (lease.progress.received_bytes() == 0 || !(lease.progress.receive_seconds() > 0)) continue;
    const v1::RunRecord& run = draft.run(task.run_id());
    task.set_hop_seconds_per_step(BoundaryBytesPerStep(run.job(), run.shape(), task.stage()) *
                                  lease.progress.receive_seconds() /
                                  static_cast<double>(lease.progress.received_bytes()));
  }
}

void CommitLayer(Draft& draft, const Lease& lease, uint64_t publish, const v1::LayerCheckpoint& layer) {
  const TaskId id = {lease.record.stage(), layer.layer()};
  v1::TaskRecord& task = draft.EditTask(lease.record.run_id(), id);
  task.set_step(layer.step());
  task.set_last_loss(layer.loss());
  task.set_last_publish(publish);
  if (task.best_publish() == 0 || layer.loss() < task.best_loss()) {
    task.set_best_publish(publish);
    task.set_best_loss(layer.loss());
  }
  KeepMeasured(draft, lease, task);
}

bool IsCommitted(const State& state, const v1::CommitPublishRequest& request) {
  const auto rows = state.rows_of_token.find(request.token());
  if (rows == state.rows_of_token.end()) return false;
  const Run& run = state.run(rows->second.run_id);
  if (run.record.result_publish() == request.publish()) return true;
  return std::any_of(run.tasks.begin(), run.tasks.end(), [&](const auto& entry) {
    return entry.second.token() == request.token() && entry.second.last_publish() == request.publish();
  });
}

}  // namespace

Decision<NoReply> DecideBeginPublish(const Moment& now, const State& state, const Options& options,
                                     const v1::BeginPublishRequest& request) {
  Decision<NoReply> decision;
  Draft draft(now, state, options);
  const TokenClaim claim = {request.worker_id(), request.token(), LayersOf(request), "BeginPublish"};
  decision.status = CheckWriter(draft, claim, request.epoch());
  if (decision.status.ok()) decision.status = CheckDescription(request);
  if (decision.status.ok()) decision.status = CheckToken(draft, claim);
  if (decision.status.ok()) decision.status = CheckPublish(draft, *state.FindLease(request.token()), request);
  decision.changes = draft.Finish();
  return decision;
}

Decision<v1::CommitPublishReply> DecideCommitPublish(const Moment& now, const State& state,
                                                     const Options& options,
                                                     const v1::CommitPublishRequest& request,
                                                     const v1::BeginPublishRequest* begun) {
  Decision<v1::CommitPublishReply> decision;
  // First: rows without a publish have 0 there.
  if (request.publish() == 0) {
    decision.status = absl::InvalidArgumentError("CommitPublish: publish is 0, which names none");
    return decision;
  }
  if (IsCommitted(state, request)) {
    decision.status = CheckCaller(state, request.worker_id(), request.epoch());
    decision.reason = absl::StrCat("publish ", request.publish(), " counts already");
    return decision;
  }
  const bool is_under_way =
      begun != nullptr && begun->token() == request.token() && begun->worker_id() == request.worker_id();
  const std::vector<uint32_t> layers = is_under_way ? LayersOf(*begun) : std::vector<uint32_t>{};
  const TokenClaim claim = {request.worker_id(), request.token(), layers, "CommitPublish"};
  Draft draft(now, state, options);
  decision.status = CheckWriter(draft, claim, request.epoch());
  if (decision.status.ok() && !is_under_way) {
    CountIfStale(draft, claim, "");
    decision.status = absl::NotFoundError(absl::StrCat("publish ", request.publish(), " under token ",
                                                       request.token(), " is not under way: begin again"));
  }
  if (!decision.status.ok()) {
    decision.changes = draft.Finish();
    return decision;
  }
  decision.status = CheckToken(draft, claim);
  const Lease* const lease = state.FindLease(request.token());
  if (decision.status.ok()) decision.status = CheckPublish(draft, *lease, *begun);
  if (decision.status.ok()) {
    v1::EventRecord& event = draft.AddEvent(v1::EVENT_KIND_CHECKPOINT_PUBLISHED, *lease);
    event.mutable_layers()->Add(layers.begin(), layers.end());
    for (const v1::LayerCheckpoint& layer : begun->layers()) event.add_steps(layer.step());
    if (begun->kind() == v1::PUBLISH_KIND_RESULT) {
      draft.EditRun(lease->record.run_id()).set_result_publish(request.publish());
      event.set_text("the result");
    } else {
      for (const v1::LayerCheckpoint& layer : begun->layers())
        CommitLayer(draft, *lease, request.publish(), layer);
      const v1::TaskRecord& stage = draft.task(lease->record.run_id(), {lease->record.stage(), layers[0]});
      if (IdOf(stage) == kEndToEnd && stage.step() == stage.total_steps()) {
        CompleteOtherRanks(draft, lease->record.run_id());
      }
    }
  }
  decision.changes = draft.Finish();
  return decision;
}

Decision<v1::CompleteReply> DecideComplete(const Moment& now, const State& state, const Options& options,
                                           const v1::CompleteRequest& request) {
  Decision<v1::CompleteReply> decision;
  Draft draft(now, state, options);
  std::vector<uint32_t> open(request.layers().begin(), request.layers().end());
  decision.status =
      CheckWriter(draft, {request.worker_id(), request.token(), open, "Complete"}, request.epoch());
  if (!decision.status.ok()) {
    decision.changes = draft.Finish();
    return decision;
  }
  std::erase_if(open, [&](uint32_t layer) { return IsRowDoneUnder(state, request.token(), layer); });
  if (open.empty() && !request.layers().empty()) {
    decision.reason = absl::StrCat("completed before under token ", request.token());
    return decision;
  }
  std::sort(open.begin(), open.end());
  open.erase(std::unique(open.begin(), open.end()), open.end());
  decision.status = CheckToken(draft, {request.worker_id(), request.token(), open, "Complete"});
  if (decision.status.ok())
    decision.status = CompleteRows(draft, *state.FindLease(request.token()), open, request);
  decision.changes = draft.Finish();
  return decision;
}

}  // namespace retort::orchestrator
