// Turns a teacher into an untrained student: attention becomes Mamba-2, stock or discrete, in the converted
// layers, everything else stays the teacher's.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "model/lm/language_model.h"
#include "retort/v1/job.pb.h"

namespace retort {

// The student's configuration: one SSM head per query head (stage 1 compares their matrices one to one), each
// as wide as an attention head; groups 0 stands for one per head. INVALID_ARGUMENT when keep_attention names
// a layer that does not exist, when no layer would be converted, or when the groups do not divide the heads.
absl::StatusOr<ModelConfig> StudentConfig(const ModelConfig& teacher, const v1::StudentSpec& spec);

// Shares every tensor of the teacher except the converted mixers, which are initialised from (seed, layer):
//   all       convolution: identity, bias 0; D 1; B and C rows unless copied: uniform +-1/sqrt(E)
//   stock     dt_bias: softplus^-1 of log-uniform [0.001, 0.1]; A uniform in [1, 16]; norm 1; z and dt rows
//             uniform likewise
//   discrete  a rows uniform likewise; z rows 0 and z_bias 1.278..., where SiLU is 1: the gate stands open
//   PAPER     x rows likewise; out_proj uniform +-1/sqrt(M), divided by sqrt(layers)
//   QKVO      x from V and out from O; B from K and C from Q, each scaled by head_dim^-1/4, when every head
//             has its own group and state_size = head_dim. Key/value heads are repeated for their query
//             heads. Biases of V, K and Q become the convolutions'; that of O has no place,
//             and neither have Qwen3's norms of each head's q and k: B and C come from the projections alone.
LanguageModel MakeStudent(const LanguageModel& teacher, const ModelConfig& config, v1::StudentInit init,
                          uint64_t seed);

// The same with mixers in `layers` only, converted ones, of whose blocks alone the teacher needs weights. The
// tensors of the other converted mixers are undefined.
LanguageModel MakeStudentLayers(const LanguageModel& teacher, const ModelConfig& config, v1::StudentInit init,
                                uint64_t seed, const std::vector<int64_t>& layers);

}  // namespace retort
