#include "orchestrator/state/model_work.h"

#include "core/base/job_memory.h"
#include "core/base/job_work.h"

namespace retort::orchestrator {
namespace {

double TokensPerStep(const v1::JobSpec& job, v1::Stage stage) {
  const v1::StagesSpec& stages = job.stages();
  switch (stage) {
    case v1::STAGE_MATRIX_ORIENTATION:
      return static_cast<double>(stages.matrix_orientation().budget().tokens_per_step());
    case v1::STAGE_HIDDEN_STATE_ALIGNMENT:
      return static_cast<double>(stages.hidden_state_alignment().budget().tokens_per_step());
    default:
      return static_cast<double>(stages.end_to_end().budget().tokens_per_step());
  }
}

// Per token: scores and values over half of the sequence on average.
double AttentionFlops(const v1::JobSpec& job, const v1::ModelShape& shape) {
  return 4.0 * job.data().seq_len() / 2 * shape.query_heads() * shape.head_dim();
}

// Per token: stage 1's two matrices, the teacher's and the student's, and their difference.
double MixingMatrixFlops(const v1::JobSpec& job, const v1::ModelShape& shape) {
  return 2.0 * job.data().seq_len() / 2 * shape.query_heads() *
         (shape.head_dim() + job.student().state_size());
}

// Per token: the scan's state update and output, per head state_size times head_dim.
double ScanFlops(const v1::JobSpec& job, const v1::ModelShape& shape) {
  return 4.0 * shape.query_heads() * shape.head_dim() * job.student().state_size();
}

}  // namespace

std::vector<uint32_t> ConvertedIn(const v1::JobSpec& job, const v1::ModelShape& shape) {
  // A job that does not fit its teacher fails before anything is planned.
  return ConvertedLayers(shape.layers(), job.student().keep_attention()).value_or(std::vector<uint32_t>{});
}

namespace {

// Per token. Below its first converted layer the student is the teacher and computed once; what is frozen
// passes its gradient on, and what trains has one of its own too.
double EndToEndFlops(const v1::JobSpec& job, const v1::ModelShape& shape) {
  const ModelParameters parameters = CountParameters(job, shape);
  const v1::EndToEndSpec& spec = job.stages().end_to_end();
  const std::vector<uint32_t> converted = ConvertedIn(job, shape);
  const bool whole = spec.train() == v1::TRAIN_SCOPE_ALL;
  const double frozen_passes = whole ? 3 : 2;
  const double attention = 2 * (parameters.teacher_block - parameters.mlp) + AttentionFlops(job, shape);
  const double first = whole || converted.empty() ? 0 : converted.front();
  const double own = shape.layers() - first;
  const auto mixers = static_cast<double>(converted.size());
  const double student = 3 * mixers * (2 * parameters.mixer + ScanFlops(job, shape)) +
                         frozen_passes * ((own - mixers) * attention + own * 2 * parameters.mlp) +
                         frozen_passes * 2 * parameters.embedding;
  const bool soft = spec.labels() != v1::LABELS_TEXT;
  const double teacher = (soft ? shape.layers() : first) * (2 * parameters.mlp + attention) +
                         (soft ? 2 * parameters.embedding : 0);
  return student + teacher;
}

}  // namespace

StepFlops CountStepFlops(const v1::JobSpec& job, const v1::ModelShape& shape, v1::Stage stage) {
  const ModelParameters parameters = CountParameters(job, shape);
  const double tokens = TokensPerStep(job, stage);
  const double mixer_forward = 2 * parameters.mixer + ScanFlops(job, shape);
  StepFlops flops;
  flops.teacher_block = tokens * (2 * parameters.teacher_block + AttentionFlops(job, shape));
  // A backward pass costs two forward passes.
  if (stage == v1::STAGE_MATRIX_ORIENTATION) {
    flops.train =
        tokens * 3 * (2 * static_cast<double>(parameters.mixer_matrix) + MixingMatrixFlops(job, shape));
  } else if (stage == v1::STAGE_HIDDEN_STATE_ALIGNMENT) {
    const v1::HiddenStateAlignmentSpec& spec = job.stages().hidden_state_alignment();
    const double mlp_passes = spec.target() == v1::ALIGNMENT_TARGET_MIXER ? 0
                              : spec.train() == v1::TRAIN_SCOPE_BLOCK     ? 3
                                                                          : 2;
    flops.train = tokens * (3 * mixer_forward + mlp_passes * 2 * parameters.mlp);
  } else {
    flops.train = tokens * EndToEndFlops(job, shape);
  }
  return flops;
}

double BoundaryBytesPerStep(const v1::JobSpec& job, const v1::ModelShape& shape, v1::Stage stage) {
  return 4 * TokensPerStep(job, stage) * shape.hidden_size();
}

}  // namespace retort::orchestrator
