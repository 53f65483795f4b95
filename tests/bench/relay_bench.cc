// What a second worker is worth in stages 1 and 2 of the demo's job, in fewer steps: real processes, one compute
// thread each, that cut the layers between them and relay the teacher's activations. Beside it one worker with
// one thread, in turns.
#include <signal.h>

#include <algorithm>
#include <iterator>
#include <regex>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench_inputs.h"
#include "tests/support/cluster.h"

namespace retort {
namespace {

constexpr int kLayers = 30, kVocabulary = 4096, kRounds = 2;
constexpr uint32_t kKeptAttention[] = {0, 1, 2, 13, 19, 20, 23, 24};
constexpr int kConverted = kLayers - static_cast<int>(std::size(kKeptAttention));
constexpr int64_t kSeqLen = 256, kMicroBatch = 2, kHiddenSize = 576, kStepTokens = kMicroBatch * kSeqLen;
constexpr uint64_t kOrientationSteps = 24, kAlignmentSteps = 60;
constexpr double kDeadlineSeconds = 1'200;

// One micro-batch a step.
void SetSteps(uint64_t steps, v1::StageBudget& budget) {
  budget.set_tokens(steps * kStepTokens);
  budget.set_tokens_per_step(kStepTokens);
  budget.set_lr(1e-4);
}

v1::JobSpec RelayJob() {
  v1::JobSpec job = JobOverInputs("relay", kSeqLen, kMicroBatch);
  for (const uint32_t layer : kKeptAttention) {
    job.mutable_student()->mutable_keep_attention()->add_layers(layer);
  }
  job.mutable_checkpoint()->set_every_steps(1'000);  // at the stages' ends only
  v1::StagesSpec& stages = *job.mutable_stages();
  SetSteps(kOrientationSteps, *stages.mutable_matrix_orientation()->mutable_budget());
  v1::HiddenStateAlignmentSpec& alignment = *stages.mutable_hidden_state_alignment();
  SetSteps(kAlignmentSteps, *alignment.mutable_budget());
  alignment.set_target(v1::ALIGNMENT_TARGET_MIXER);
  alignment.set_train(v1::TRAIN_SCOPE_MIXER);
  return job;
}

struct Outcome {
  double seconds = 0;           // from the first grant of stage 1 to the last completion of stage 2
  uint64_t slices = 0;          // granted
  uint64_t received_bytes = 0;  // activations, over all workers
};

// Of a worker's last line on it.
uint64_t ReceivedBytes(const std::string& log) {
  static const std::regex kLine("received \\((\\d+) bytes\\)");
  uint64_t bytes = 0;
  for (std::sregex_iterator it(log.begin(), log.end(), kLine), end; it != end; ++it) {
    RETORT_CHECK(absl::SimpleAtoi((*it)[1].str(), &bytes)) << it->str();
  }
  return bytes;
}

// In stage 2.
int CompletedLayers(const RunHistory& history) {
  int layers = 0;
  for (const v1::Event& event : history.OfKind(v1::EVENT_KIND_TASK_COMPLETED)) {
    if (event.stage() == v1::STAGE_HIDDEN_STATE_ALIGNMENT) layers += event.layers_size();
  }
  return layers;
}

Outcome Train(const BenchInputs& inputs, int workers) {
  Cluster cluster(RETORT_BIN_DIR);
  for (int i = 0; i < workers; ++i) cluster.StartWorker(absl::StrCat("w", i), inputs.directory());
  RETORT_CHECK(Eventually(kDeadlineSeconds,
                          [&] { return cluster.registered_workers() == static_cast<size_t>(workers); }));
  const RunHistory history(cluster.address(), cluster.Submit(RelayJob()));
  RETORT_CHECK(Eventually(kDeadlineSeconds, [&] { return CompletedLayers(history) == kConverted; }))
      << history.Render();
  Outcome outcome;
  int64_t begin_ms = 0, end_ms = 0;
  for (const v1::Event& event : history.events()) {
    const bool is_of_layers =
        event.stage() == v1::STAGE_MATRIX_ORIENTATION || event.stage() == v1::STAGE_HIDDEN_STATE_ALIGNMENT;
    if (!is_of_layers) continue;
    if (begin_ms == 0) begin_ms = event.time_unix_ms();
    outcome.slices += event.kind() == v1::EVENT_KIND_LEASE_GRANTED;
    if (event.kind() == v1::EVENT_KIND_TASK_COMPLETED) end_ms = event.time_unix_ms();
  }
  outcome.seconds = static_cast<double>(end_ms - begin_ms) / 1e3;
  for (int i = 0; i < workers; ++i) {
    outcome.received_bytes += ReceivedBytes(cluster.EndWorker(absl::StrCat("w", i), SIGTERM).err);
  }
  RETORT_CHECK(outcome.slices == static_cast<uint64_t>(2 * workers)) << history.Render();
  return outcome;
}

void BenchRelay() {
  const BenchInputs inputs(kLayers, kVocabulary, 64 * kSeqLen, kSeqLen);
  constexpr uint64_t kBatches = kOrientationSteps + kAlignmentSteps;
  constexpr uint64_t kBoundaryBytes = kBatches * kStepTokens * kHiddenSize * sizeof(float);
  std::vector<double> one_seconds, two_seconds;
  for (int round = 0; round < kRounds; ++round) {
    one_seconds.push_back(Train(inputs, 1).seconds);
    const Outcome two = Train(inputs, 2);
    two_seconds.push_back(two.seconds);
    RETORT_CHECK(two.received_bytes == kBoundaryBytes)
        << two.received_bytes << " bytes, " << kBoundaryBytes << " are one boundary of every batch";
  }
  const double one = *std::min_element(one_seconds.begin(), one_seconds.end());
  Report(absl::StrCat("stages 1 and 2 of ", kConverted, " of ", kLayers, " layers, one worker with one thread"), one, "s");
  Report("the same with two workers of one thread, by relay, over one",
         *std::min_element(two_seconds.begin(), two_seconds.end()) / one, "times", AtMost(0.55));
  Report("activations received by relay, exactly one boundary of every batch",
         static_cast<double>(kBoundaryBytes) / 1e6, "MB");
}

const bool registered = RegisterBench("relay", &BenchRelay);

}  // namespace
}  // namespace retort
