// One representative call of each op with its gradients, for the benchmarks that compare the same call under
// different conditions.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "model/layers/attention.h"
#include "model/layers/ssd.h"
#include "model/ops/mixing_loss.h"

namespace retort {

struct OpCall {
  std::string name;
  std::function<void()> run;  // owns its inputs
};
std::vector<OpCall> OpCalls();

// One layer of SmolLM2-135M's shape at `tokens` tokens: 9 heads of 64, for the scan and stage 1's loss with 3
// key heads, one group and a state of 128. Every log-decay is uniform in [2 mean_log_decay, 0].
SsdInputs SmolLmScan(int64_t tokens, double mean_log_decay);
struct MixingProblem {
  MixingLossInputs inputs;
  AttentionTaps taps;  // the same teacher, as the plain form takes it
};
MixingProblem SmolLmMixing(int64_t tokens, double mean_log_decay);

// Forward and backward.
void RunFusedScan(const SsdInputs& inputs);
void RunPlainScan(const SsdInputs& inputs);  // einsum, chunks of 64
void RunFusedMixing(const MixingProblem& problem);
void RunPlainMixing(const MixingProblem& problem);

}  // namespace retort
