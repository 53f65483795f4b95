#include "orchestrator/state/prepared.h"

#include <algorithm>
#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/base/job_work.h"
#include "core/base/status_macros.h"
#include "orchestrator/state/lease_end.h"

namespace retort::orchestrator {
namespace {

constexpr uint32_t kMaxLayers = 1024;

absl::Status CheckProbed(const v1::KeepAttention& keep, const v1::PreparedRun& prepared) {
  if (prepared.has_probed() != AwaitsProbe(keep)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "Complete: the job asks for ", AwaitsProbe(keep) ? "a" : "no", " probe, and `probed` is ",
        prepared.has_probed() ? "there" : "absent: is the worker older than the orchestrator?"));
  }
  const auto& layers = prepared.probed().layers();
  const bool ascend =
      std::adjacent_find(layers.begin(), layers.end(), std::greater_equal<>()) == layers.end();
  const bool exist = layers.empty() || layers[layers.size() - 1] < prepared.shape().layers();
  const bool fit = static_cast<uint32_t>(layers.size()) == keep.auto_layers() && ascend && exist;
  if (!prepared.has_probed() || fit) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("Complete: probed.layers are ", absl::StrJoin(layers, ", "),
                                                 "; ", keep.auto_layers(), " of ", prepared.shape().layers(),
                                                 " are to be kept, ascending"));
}

absl::Status CheckPrepared(const v1::JobSpec& job, const v1::PreparedRun& prepared) {
  const v1::ModelShape& shape = prepared.shape();
  if (shape.layers() == 0 || shape.layers() > kMaxLayers || shape.hidden_size() == 0 ||
      shape.intermediate_size() == 0 || shape.query_heads() == 0 || shape.kv_heads() == 0 ||
      shape.head_dim() == 0 || shape.vocab_size() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("Complete: the teacher's shape has a size of 0, or more than ", kMaxLayers, " layers"));
  }
  const size_t files = TrainFiles(job.data()).size() + 1 + (job.data().off_domain().empty() ? 0 : 1);
  bool hashes_fit = prepared.inputs().teacher_sha256().size() == 32 &&
                    static_cast<size_t>(prepared.inputs().data_size()) == files;
  for (const v1::InputHash& hash : prepared.inputs().data())
    hashes_fit = hashes_fit && hash.sha256().size() == 32;
  if (!hashes_fit) {
    return absl::InvalidArgumentError(
        absl::StrCat("Complete: inputs must have the teacher's SHA-256 and those of ", files,
                     " data files, 32 bytes each"));
  }
  return CheckProbed(job.student().keep_attention(), prepared);
}

v1::TaskRecord MakeTask(uint64_t run_id, TaskId id, uint64_t total_steps) {
  v1::TaskRecord task;
  task.set_version(1);
  task.set_run_id(run_id);
  task.set_stage(id.stage);
  task.set_layer(id.layer);
  task.set_state(v1::TASK_STATE_PENDING);
  task.set_total_steps(total_steps);
  return task;
}

absl::Status CompletePrepare(Draft& draft, const Lease& lease, const v1::PreparedRun& prepared) {
  const uint64_t run_id = lease.record.run_id();
  RETURN_IF_ERROR(CheckPrepared(draft.run(run_id).job(), prepared));
  v1::RunRecord& run = draft.EditRun(run_id);
  *run.mutable_shape() = prepared.shape();
  *run.mutable_inputs() = prepared.inputs();
  v1::StudentSpec& student = *run.mutable_job()->mutable_student();
  if (prepared.has_probed()) *student.mutable_keep_attention()->mutable_layers() = prepared.probed().layers();
  absl::StatusOr<std::vector<v1::TaskRecord>> tasks = MakeTasks(run);
  if (!tasks.ok()) {
    run.clear_shape();
    run.clear_inputs();
    if (prepared.has_probed()) student.mutable_keep_attention()->clear_layers();
    EndLease(draft, lease.record.token(), {v1::END_CAUSE_USER_ERROR, std::string(tasks.status().message())});
    return absl::OkStatus();
  }
  v1::EventRecord& event = draft.AddEvent(v1::EVENT_KIND_RUN_PREPARED);
  event.set_run_id(run_id);
  event.set_text(
      absl::StrFormat("teacher of %u layers, width %u, vocabulary %u; %d tasks%s", run.shape().layers(),
                      run.shape().hidden_size(), run.shape().vocab_size(), tasks->size(),
                      prepared.has_probed() ? absl::StrCat("; ", prepared.probed().reason()) : ""));
  for (v1::TaskRecord& task : *tasks) draft.AddTask(std::move(task));
  return absl::OkStatus();
}

}  // namespace

absl::Status CompleteRows(Draft& draft, const Lease& lease, const std::vector<uint32_t>& layers,
                          const v1::CompleteRequest& request) {
  const v1::LeaseRecord record = lease.record;
  const bool prepares = record.stage() == v1::STAGE_PREPARE;
  if (request.has_prepared() != prepares) {
    return absl::InvalidArgumentError(absl::StrCat("Complete of ", StageName(record.stage()),
                                                   prepares ? " lacks" : " must not have", " `prepared`"));
  }
  for (const uint32_t layer : layers) {
    if (record.stage() == v1::STAGE_END_TO_END && layer != 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("Complete: rank ", layer, " is done when rank 0 has published the last step"));
    }
    const v1::TaskRecord& task = draft.task(record.run_id(), {record.stage(), layer});
    if (task.step() != task.total_steps()) {
      return absl::FailedPreconditionError(absl::StrCat("Complete: layer ", layer, " is published at step ",
                                                        task.step(), " of ", task.total_steps()));
    }
  }
  if (record.stage() == v1::STAGE_END_TO_END && draft.run(record.run_id()).result_publish() == 0) {
    return absl::FailedPreconditionError("Complete: no RESULT was published");
  }
  if (prepares) {
    RETURN_IF_ERROR(CompletePrepare(draft, lease, request.prepared()));
    if (draft.FindLease(record.token()) == nullptr) return absl::OkStatus();  // the job does not fit
  }
  v1::EventRecord& event = draft.AddEvent(v1::EVENT_KIND_TASK_COMPLETED, lease);
  event.mutable_layers()->Add(layers.begin(), layers.end());
  EndRows(draft, record.token(), layers, {v1::END_CAUSE_COMPLETED, "completed"});
  return absl::OkStatus();
}

absl::StatusOr<std::vector<v1::TaskRecord>> MakeTasks(const v1::RunRecord& run) {
  const v1::JobSpec& job = run.job();
  const uint32_t groups = StudentGroups(job.student(), run.shape().query_heads());
  if (groups == 0 || run.shape().query_heads() % groups != 0) {
    return absl::InvalidArgumentError(absl::StrCat("student.groups is ", groups,
                                                   ", which does not divide the teacher's ",
                                                   run.shape().query_heads(), " query heads"));
  }
  ASSIGN_OR_RETURN(const std::vector<uint32_t> converted,
                   ConvertedLayers(run.shape().layers(), job.student().keep_attention()));
  std::vector<v1::TaskRecord> tasks;
  const auto add_stage = [&](v1::Stage stage, const v1::StageBudget& budget) {
    for (const uint32_t layer : converted)
      tasks.push_back(MakeTask(run.run_id(), {stage, layer}, StageSteps(budget)));
  };
  if (job.stages().has_matrix_orientation()) {
    add_stage(v1::STAGE_MATRIX_ORIENTATION, job.stages().matrix_orientation().budget());
  }
  if (job.stages().has_hidden_state_alignment()) {
    add_stage(v1::STAGE_HIDDEN_STATE_ALIGNMENT, job.stages().hidden_state_alignment().budget());
  }
  const uint64_t ranks = job.stages().end_to_end().world_size(), sequences = EndToEndSequences(job);
  if (ranks > sequences) {
    return absl::InvalidArgumentError(absl::StrCat("stages.end_to_end.world_size is ", ranks,
                                                   ", and a step has ", sequences,
                                                   " sequences: at most one rank a sequence"));
  }
  const uint64_t end_to_end_steps =
      job.stages().has_end_to_end() ? StageSteps(job.stages().end_to_end().budget()) : 0;
  tasks.push_back(MakeTask(run.run_id(), kEndToEnd, end_to_end_steps));
  return tasks;
}

}  // namespace retort::orchestrator
