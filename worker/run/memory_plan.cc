#include "worker/run/memory_plan.h"

#include <algorithm>

#include "core/base/job_work.h"
#include "model/lm/language_model.h"

namespace retort {
namespace {

constexpr uint64_t kFloatBytes = 4;
// The libraries, their thread stacks and tables; gRPC's buffers.
constexpr uint64_t kProcessBytes = uint64_t{160} << 20;

uint64_t BytesOf(const std::vector<int64_t>& shape) {
  uint64_t bytes = kFloatBytes;
  for (int64_t size : shape) bytes *= static_cast<uint64_t>(size);
  return bytes;
}

// Tensors of a model of this shape for which `counts` holds.
template <typename Predicate>
uint64_t ModelBytes(const ModelConfig& config, Predicate counts) {
  LanguageModel model = EmptyModel(config);
  uint64_t bytes = 0;
  for (const auto& tensor : ModelTensors(model)) {
    if (counts(tensor)) bytes += BytesOf(tensor.shape);
  }
  return bytes;
}

// Of the arrays that a forward and a backward pass of one student block hold at once, beside a teacher
// block's.
uint64_t BlockPassBytes(const ModelConfig& config, uint64_t tokens) {
  const int64_t floats = 10 * config.hidden_size + 16 * config.mamba2.inner() +
                         12 * config.mamba2.group_channels() + 6 * config.intermediate_size;
  return kFloatBytes * tokens * static_cast<uint64_t>(floats);
}

// Of what a block's forward pass keeps for its backward pass.
uint64_t BlockKeptBytes(const ModelConfig& config, uint64_t tokens) {
  const int64_t floats = 4 * config.hidden_size + 8 * config.mamba2.inner() +
                         6 * config.mamba2.group_channels() + 3 * config.intermediate_size;
  return kFloatBytes * tokens * static_cast<uint64_t>(floats);
}

// Logits of 256 positions and what is computed from them, of teacher and student; copies of heads with a bias
// and the gradient of one.
uint64_t HeadBytes(const ModelConfig& config) {
  constexpr int64_t kPositions = 256, kArrays = 6, kBiasedHeads = 3;
  const int64_t columns =
      kPositions * kArrays + (config.block().head_bias ? kBiasedHeads * (config.hidden_size + 1) : 0);
  return kFloatBytes * static_cast<uint64_t>(columns * config.vocab_size);
}

// While a checkpoint is sent, the next one is copied or a pass is made.
uint64_t PeakBytes(uint64_t teacher, uint64_t own, uint64_t trained, uint64_t pass) {
  const uint64_t checkpoint = own + 2 * trained;
  return kProcessBytes + teacher + own + 3 * trained + checkpoint + std::max(checkpoint, pass);
}

}  // namespace

uint64_t TeacherBytes(const ModelConfig& teacher, int64_t blocks) {
  return ModelBytes(teacher, [&](const auto& tensor) { return tensor.place < blocks; });
}

uint64_t PlanLayersBytes(const StagePlan& plan, const ModelConfig& teacher, const ModelConfig& student,
                         const std::vector<int64_t>& layers) {
  const bool whole_blocks = plan.stage == Stage::kHiddenStateAlignment && plan.scope == v1::TRAIN_SCOPE_BLOCK;
  const uint64_t own = ModelBytes(student, [&](const auto& tensor) {
    return (tensor.of_student_mixer || whole_blocks) &&
           std::binary_search(layers.begin(), layers.end(), tensor.place);
  });
  const uint64_t trained =
      plan.stage == Stage::kMatrixOrientation
          ? ModelBytes(student,
                       [&](const auto& tensor) {
                         return tensor.in_matrix &&
                                std::binary_search(layers.begin(), layers.end(), tensor.place);
                       })
          : own;
  const auto tokens = static_cast<uint64_t>(plan.micro_batch * plan.seq_len);
  const uint64_t of_teacher = TeacherBytes(teacher, layers.back() + 1);
  return PeakBytes(of_teacher, own, trained, BlockPassBytes(student, tokens));
}

uint64_t PlanEndToEndBytes(const v1::JobSpec& job, const ModelConfig& teacher, const ModelConfig& student,
                           uint64_t ranks) {
  const auto all = [](const auto&) { return true; };
  const auto mixers = [](const auto& tensor) { return tensor.of_student_mixer; };
  const bool whole = job.stages().end_to_end().train() == v1::TRAIN_SCOPE_ALL;
  const uint64_t own = whole ? ModelBytes(student, all) : ModelBytes(student, mixers);
  const uint64_t trained = job.stages().has_end_to_end() ? own : 0;
  const uint64_t tokens =
      PassSequences(EndToEndSequences(job), job.micro_batch(), ranks) * job.data().seq_len();
  const uint64_t kept = trained == 0 ? 0 : student.num_layers() * BlockKeptBytes(student, tokens);
  const uint64_t pass = kept + BlockPassBytes(student, tokens) + HeadBytes(student);
  return PeakBytes(ModelBytes(teacher, all), own, trained, std::max(pass, ModelBytes(student, all)));
}

}  // namespace retort
