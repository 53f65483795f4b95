#include "worker/run/torch_workshop.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/check.h"
#include "core/base/job_memory.h"
#include "core/base/job_work.h"
#include "core/base/status_macros.h"
#include "model/lm/torch_seam.h"
#include "train/stages/slice.h"
#include "worker/run/choose_layers.h"
#include "worker/run/end_to_end_work.h"
#include "worker/run/evaluation.h"
#include "worker/run/layer_work.h"
#include "worker/run/this_machine.h"

namespace retort {
namespace {

v1::ModelShape ShapeOf(const ModelConfig& teacher) {
  v1::ModelShape shape;
  shape.set_layers(static_cast<uint32_t>(teacher.num_layers()));
  shape.set_hidden_size(static_cast<uint32_t>(teacher.hidden_size));
  shape.set_intermediate_size(static_cast<uint32_t>(teacher.intermediate_size));
  shape.set_query_heads(static_cast<uint32_t>(teacher.heads));
  shape.set_kv_heads(static_cast<uint32_t>(teacher.kv_heads));
  shape.set_head_dim(static_cast<uint32_t>(teacher.head_dim));
  shape.set_vocab_size(static_cast<uint32_t>(teacher.vocab_size));
  shape.set_tied_head(teacher.tied_head);
  shape.set_plain_mlp(!teacher.block().gated_mlp);
  shape.set_biased_head(teacher.block().head_bias);
  return shape;
}

bool IsRankOfRun(const v1::Slice& slice, const LeftRank& left) {
  return slice.stage() == v1::STAGE_END_TO_END && slice.run_id() == left.run_id &&
         slice.identity_sha256() == left.identity_sha256;
}

std::string MebibytesText(uint64_t bytes) {
  return absl::StrFormat("%.1f MiB", static_cast<double>(bytes) / (1 << 20));
}

absl::StatusOr<StagePlan> PlanOf(const v1::Slice& slice) {
  for (const StagePlan& plan : PlanStages(slice.job())) {
    if (static_cast<int>(plan.stage) == slice.stage()) return plan;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("run ", slice.run_id(), " has no stage ", v1::Stage_Name(slice.stage())));
}

}  // namespace

absl::Status TorchWorkshop::OpenMaterial(const v1::JobSpec& job, RunInputs inputs,
                                         const v1::InputHashes& hashes) {
  if (material_ && material_->IsOf(job, inputs, hashes)) return absl::OkStatus();
  material_.reset();
  ASSIGN_OR_RETURN(material_, RunMaterial::Open(job, std::move(inputs), hashes, options_.weights_directory));
  return absl::OkStatus();
}

absl::StatusOr<v1::PreparedRun> TorchWorkshop::Prepare(const v1::Slice& slice,
                                                       const std::atomic<bool>& stop) {
  UseComputeThreads();
  left_rank_.reset();
  absl::StatusOr<v1::PreparedRun> prepared =
      CatchTorch("preparing " + slice.job().name(), [&] { return PrepareInTorch(slice, stop); });
  // A damaged input is another content, which no second attempt here would mend.
  if (absl::IsDataLoss(prepared.status())) return absl::FailedPreconditionError(prepared.status().message());
  return prepared;
}

absl::StatusOr<v1::PreparedRun> TorchWorkshop::PrepareInTorch(const v1::Slice& slice,
                                                              const std::atomic<bool>& stop) {
  const v1::JobSpec& job = slice.job();
  ASSIGN_OR_RETURN(const RunInputs inputs, ResolveInputs(job, options_.roots));
  v1::PreparedRun prepared;
  ASSIGN_OR_RETURN(*prepared.mutable_inputs(), hasher_.Hash(job, inputs, stop));
  RETURN_IF_ERROR(OpenMaterial(job, inputs, prepared.inputs()));
  RETURN_IF_ERROR(Evaluation::Open(job, inputs, material_->teacher_config()).status());
  *prepared.mutable_shape() = ShapeOf(material_->teacher_config());
  if (AwaitsProbe(job.student().keep_attention())) {
    ASSIGN_OR_RETURN(*prepared.mutable_probed(),
                     ChooseLayers(slice, prepared.shape(), options_.memory_bytes, *material_, log_, stop));
  }
  return prepared;
}

absl::StatusOr<LanguageModel> TorchWorkshop::LoadTeacher(
    const v1::Slice& slice, int64_t blocks, LoadProgress& progress,
    const std::function<void(const LoadProgress&)>& on_progress) {
  ASSIGN_OR_RETURN(LanguageModel teacher, material_->Teacher(blocks));
  const std::optional<SharedTensors>& shared = material_->shared_weights();
  if (!shared) return teacher;
  const LogContext context = {slice.run_id(), slice.stage(), slice.token(), 0};
  const std::string sharing = absl::StrCat(MebibytesText(shared->mapped_bytes()),
                                           " of the teacher's weights are shared with other workers here");
  const uint64_t unshared_bytes = material_->unshared_bytes();
  if (unshared_bytes == 0) {
    log_.Info(sharing, context);
    return teacher;
  }
  const auto unplanned_bytes =
      static_cast<uint64_t>((1 - options_.teacher_part) * static_cast<double>(unshared_bytes));
  log_.Warning(absl::StrCat(sharing, ", and ", MebibytesText(unshared_bytes), " are this worker's own, ",
                            MebibytesText(unplanned_bytes),
                            " more than is planned for it: ", shared->failure().message()),
               context);
  progress.planned_memory_bytes += unplanned_bytes;
  on_progress(progress);
  return teacher;
}

uint64_t TorchWorkshop::SideBySide(const v1::Slice& slice, const StagePlan& plan, const MemoryNeed& need,
                                   uint64_t planned_bytes) const {
  if (!LearnsAlikeOnAnyThreads(plan, material_->student_config())) return 1;
  const uint64_t held_bytes = material_->teacher_bytes();  // perhaps of a slice above this one
  const auto unneeded_bytes =
      options_.teacher_part * static_cast<double>(held_bytes > need.teacher ? held_bytes - need.teacher : 0);
  const uint64_t most = std::min<uint64_t>(slice.numerics().threads(), slice.layers_size());
  return LayersSideBySide(need, planned_bytes + static_cast<uint64_t>(unneeded_bytes), options_.memory_bytes,
                          most);
}

absl::StatusOr<std::unique_ptr<SliceWork>> TorchWorkshop::Load(
    const v1::Slice& slice, CheckpointSource& source, GangCalls& gang, const std::atomic<bool>& stop,
    const std::function<void(const LoadProgress&)>& on_progress) {
  UseComputeThreads();
  // No plan of another slice has room for it.
  if (left_rank_ && !IsRankOfRun(slice, *left_rank_)) left_rank_.reset();
  if (relay_ != nullptr && slice.stage() == v1::STAGE_END_TO_END) {
    relay_->state().Clear();  // no layer trains in stages 1 and 2 any more
  } else if (relay_ != nullptr) {
    relay_->state().BeginLoad(RelayedSliceOf(slice));
  }
  auto work = CatchTorch(absl::StrCat("loading a slice of run ", slice.run_id()),
                         [&] { return LoadInTorch(slice, source, gang, stop, on_progress); });
  if (relay_ != nullptr && !work.ok()) relay_->state().EndSlice();
  return work;
}

absl::StatusOr<std::unique_ptr<SliceWork>> TorchWorkshop::LoadInTorch(
    const v1::Slice& slice, CheckpointSource& source, GangCalls& gang, const std::atomic<bool>& stop,
    const std::function<void(const LoadProgress&)>& on_progress) {
  on_progress({});
  RETURN_IF_ERROR(CompareNumerics(slice.numerics()));
  ASSIGN_OR_RETURN(const RunInputs inputs, ResolveInputs(slice.job(), options_.roots));
  ASSIGN_OR_RETURN(const v1::InputHashes hashes, hasher_.Hash(slice.job(), inputs, stop));
  RETURN_IF_ERROR(CompareInputs(slice.inputs(), hashes, inputs));
  RETURN_IF_ERROR(OpenMaterial(slice.job(), inputs, hashes));
  const ModelConfig& teacher = material_->teacher_config();

  LoadProgress progress;
  if (slice.stage() == v1::STAGE_END_TO_END) {
    const uint64_t ranks = std::max(1U, slice.gang().world_size());
    progress.planned_memory_bytes =
        EndToEndMemory(slice.job(), ShapeOf(teacher), ranks).peak(options_.teacher_part);
    on_progress(progress);
    ASSIGN_OR_RETURN(LanguageModel whole,
                     LoadTeacher(slice, teacher.num_layers() + 1, progress, on_progress));
    return EndToEndWork::Load(slice, *material_, std::move(whole), source, gang, left_rank_, log_, stop, [&] {
      progress.phase = v1::SLICE_PHASE_MEASURING;
      on_progress(progress);
    });
  }
  ASSIGN_OR_RETURN(const StagePlan plan, PlanOf(slice));
  std::vector<int64_t> layers;
  for (const v1::SliceLayer& layer : slice.layers()) layers.push_back(layer.layer());
  const int64_t blocks = layers.back() + 1;
  const MemoryNeed need = SliceMemory(slice.job(), ShapeOf(teacher), slice.stage(),
                                      static_cast<uint32_t>(layers.back()), layers.size());
  const auto own_bytes = static_cast<double>(need.peak(/*teacher_part=*/0));
  if (own_bytes +
          options_.teacher_part * static_cast<double>(std::max(need.teacher, material_->teacher_bytes())) >
      static_cast<double>(options_.memory_bytes)) {
    material_->ReleaseTeacherFrom(blocks);
    if (relay_ != nullptr) relay_->state().ReleaseTeacherFrom(blocks);
  }
  const auto shared_bytes = static_cast<double>(SharedTeacherBytes(slice.job(), ShapeOf(teacher)));
  progress.planned_memory_bytes = static_cast<uint64_t>(
      BytesOn(options_.teacher_part, shared_bytes, static_cast<double>(need.peak()), own_bytes));
  on_progress(progress);
  ASSIGN_OR_RETURN(LanguageModel lower, LoadTeacher(slice, blocks, progress, on_progress));
  const uint64_t side_by_side = SideBySide(slice, plan, need, progress.planned_memory_bytes);
  if (side_by_side > 1) {
    progress.planned_memory_bytes += (side_by_side - 1) * need.activations;
    on_progress(progress);
  }
  return LayerWork::Load(slice, plan, *material_, std::move(lower), static_cast<int64_t>(side_by_side),
                         source, relay_, stop);
}

}  // namespace retort
