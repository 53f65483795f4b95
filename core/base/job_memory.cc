#include "core/base/job_memory.h"

#include <algorithm>

#include "core/base/job_work.h"
#include "core/base/relay_limits.h"

namespace retort {
namespace {

constexpr uint64_t kFloatBytes = 4;
// The libraries, their thread stacks and tables; gRPC's buffers: as they are seen to occupy.
constexpr uint64_t kProcessBytes = uint64_t{160} << 20;

uint64_t Inner(const v1::ModelShape& shape) { return uint64_t{shape.query_heads()} * shape.head_dim(); }

// Channels of B, as many as of C.
uint64_t GroupChannels(const v1::JobSpec& job, const v1::ModelShape& shape) {
  return uint64_t{StudentGroups(job.student(), shape.query_heads())} * job.student().state_size();
}

// Of the arrays that a forward and a backward pass of one student block hold at once, beside a teacher
// block's.
uint64_t BlockPassBytes(const v1::JobSpec& job, const v1::ModelShape& shape, uint64_t tokens) {
  return kFloatBytes * tokens *
         (10 * uint64_t{shape.hidden_size()} + 16 * Inner(shape) + 12 * GroupChannels(job, shape) +
          6 * uint64_t{shape.intermediate_size()});
}

// Of what a block's forward pass keeps for its backward pass.
uint64_t BlockKeptBytes(const v1::JobSpec& job, const v1::ModelShape& shape, uint64_t tokens) {
  return kFloatBytes * tokens *
         (4 * uint64_t{shape.hidden_size()} + 8 * Inner(shape) + 6 * GroupChannels(job, shape) +
          3 * uint64_t{shape.intermediate_size()});
}

// Logits of 256 positions and what is computed from them, of teacher and student; copies of heads with a bias
// and the gradient of one.
uint64_t HeadBytes(const v1::ModelShape& shape) {
  constexpr uint64_t kPositions = 256, kArrays = 6, kBiasedHeads = 3;
  const uint64_t biased = shape.biased_head() ? kBiasedHeads * (uint64_t{shape.hidden_size()} + 1) : 0;
  return kFloatBytes * (kPositions * kArrays + biased) * shape.vocab_size();
}

MemoryNeed Need(uint64_t teacher, uint64_t own, uint64_t trained, uint64_t activations) {
  return {.process = kProcessBytes,
          .teacher = kFloatBytes * teacher,
          .student = kFloatBytes * own,
          .optimizer = kFloatBytes * 3 * trained,
          .checkpoint = kFloatBytes * (own + 2 * trained),
          .activations = activations};
}

// Any slice may be asked for its output, and may pull its input: a later cut decides.
uint64_t RelayBytes(const v1::JobSpec& job, const v1::ModelShape& shape, v1::Stage stage) {
  const v1::StageBudget& budget = stage == v1::STAGE_MATRIX_ORIENTATION
                                      ? job.stages().matrix_orientation().budget()
                                      : job.stages().hidden_state_alignment().budget();
  const uint64_t pass_tokens = uint64_t{job.micro_batch()} * job.data().seq_len();
  const uint64_t passes = std::max(uint64_t{1}, budget.tokens_per_step() / pass_tokens);
  const RelayLimits limits = RelayLimitsOf(
      static_cast<int64_t>(passes), static_cast<int64_t>(kFloatBytes * pass_tokens * shape.hidden_size()));
  return limits.buffer_bytes + static_cast<uint64_t>(limits.prefetch) * limits.micro_batch_bytes;
}

}  // namespace

ModelParameters CountParameters(const v1::JobSpec& job, const v1::ModelShape& shape) {
  const uint64_t hidden = shape.hidden_size(), inner = Inner(shape);
  ModelParameters parameters;
  parameters.embedding = hidden * shape.vocab_size();
  parameters.head = shape.tied_head() ? 0 : parameters.embedding;
  parameters.mlp = (shape.plain_mlp() ? 2 : 3) * hidden * shape.intermediate_size();
  parameters.teacher_block =
      parameters.mlp + 2 * hidden * inner + 2 * hidden * shape.kv_heads() * shape.head_dim();
  parameters.mixer_matrix = hidden * (2 * GroupChannels(job, shape) + shape.query_heads());
  // x and z, the matrix's, the output.
  parameters.mixer = 2 * hidden * inner + parameters.mixer_matrix + inner * hidden;
  return parameters;
}

uint64_t MemoryNeed::peak(double teacher_part) const {
  const auto own_teacher = static_cast<uint64_t>(teacher_part * static_cast<double>(teacher));
  return process + own_teacher + student + optimizer + checkpoint + relay + std::max(checkpoint, activations);
}

MemoryNeed SliceMemory(const v1::JobSpec& job, const v1::ModelShape& shape, v1::Stage stage,
                       uint32_t last_layer, size_t layers) {
  const ModelParameters parameters = CountParameters(job, shape);
  const uint64_t teacher = parameters.embedding + (uint64_t{last_layer} + 1) * parameters.teacher_block;
  const bool whole_blocks = stage == v1::STAGE_HIDDEN_STATE_ALIGNMENT &&
                            job.stages().hidden_state_alignment().train() == v1::TRAIN_SCOPE_BLOCK;
  const uint64_t own = parameters.mixer + (whole_blocks ? parameters.mlp : 0);
  const uint64_t trained = stage == v1::STAGE_MATRIX_ORIENTATION ? parameters.mixer_matrix : own;
  MemoryNeed need = Need(teacher, own * layers, trained * layers,
                         BlockPassBytes(job, shape, uint64_t{job.micro_batch()} * job.data().seq_len()));
  need.relay = RelayBytes(job, shape, stage);
  return need;
}

uint64_t LayersSideBySide(const MemoryNeed& need, uint64_t planned_bytes, uint64_t memory_bytes,
                          uint64_t threads) {
  const uint64_t left = memory_bytes > planned_bytes ? memory_bytes - planned_bytes : 0;
  return std::min(threads, 1 + left / (2 * need.activations));
}

MemoryNeed EndToEndMemory(const v1::JobSpec& job, const v1::ModelShape& shape, uint64_t ranks) {
  const ModelParameters parameters = CountParameters(job, shape);
  const uint64_t outside = parameters.embedding + parameters.head;
  const uint64_t teacher = outside + shape.layers() * parameters.teacher_block;
  // A job that does not fit its teacher fails before anything is planned.
  const uint64_t converted = ConvertedLayers(shape.layers(), job.student().keep_attention())
                                 .value_or(std::vector<uint32_t>{})
                                 .size();
  const uint64_t mixers = converted * parameters.mixer;
  const uint64_t student = teacher - converted * (parameters.teacher_block - parameters.mlp) + mixers;
  const uint64_t own = job.stages().end_to_end().train() == v1::TRAIN_SCOPE_ALL ? student : mixers;
  const uint64_t trained = job.stages().has_end_to_end() ? own : 0;
  const uint64_t tokens =
      PassSequences(EndToEndSequences(job), job.micro_batch(), ranks) * job.data().seq_len();
  const uint64_t of_block = job.stages().end_to_end().activation_checkpointing()
                                ? kFloatBytes * tokens * shape.hidden_size()
                                : BlockKeptBytes(job, shape, tokens);
  const uint64_t kept = trained == 0 ? 0 : shape.layers() * of_block;
  const uint64_t pass = kept + BlockPassBytes(job, shape, tokens) + HeadBytes(shape);
  return Need(teacher, own, trained, std::max(pass, kFloatBytes * student));
}

double TeacherPart(const v1::Capabilities& capabilities) {
  const bool shares = !capabilities.shared_weights().empty() && !capabilities.host().empty() &&
                      capabilities.memory_bytes() < capabilities.host_memory_bytes();
  if (!shares) return 1;
  return static_cast<double>(capabilities.memory_bytes()) /
         static_cast<double>(capabilities.host_memory_bytes());
}

uint64_t SharedTeacherBytes(const v1::JobSpec& job, const v1::ModelShape& shape) {
  const auto converted = ConvertedLayers(shape.layers(), job.student().keep_attention());
  if (!converted.ok() || converted->empty()) return 0;  // no slices either
  return SliceMemory(job, shape, v1::STAGE_HIDDEN_STATE_ALIGNMENT, converted->back(), /*layers=*/1).teacher;
}

}  // namespace retort
