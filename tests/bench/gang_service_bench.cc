// gang_service_bench [--json]: stage 3 under the real service, by one worker of one thread and by two, on the
// same steps: how many times the tokens a second two ranks have.
#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench_inputs.h"
#include "tests/bench/report.h"
#include "tests/support/cluster.h"

namespace retort {
namespace {

constexpr int kLayers = 8, kVocabulary = 8192, kSteps = 8, kRounds = 2;
constexpr int64_t kSeqLen = 256;
constexpr uint64_t kStepTokens = 8192;  // 4096 a rank
constexpr double kEndSeconds = 600;

v1::JobSpec GangJob(uint32_t world_size, int round) {
  v1::JobSpec job = JobOverInputs(absl::StrCat("gang-", world_size, "-", round), kSeqLen, 4);
  job.mutable_checkpoint()->set_every_steps(kSteps);
  v1::EndToEndSpec& stage = *job.mutable_stages()->mutable_end_to_end();
  stage.mutable_budget()->set_tokens(kSteps * kStepTokens);
  stage.mutable_budget()->set_tokens_per_step(kStepTokens);
  stage.mutable_budget()->set_lr(1e-4);
  stage.set_train(v1::TRAIN_SCOPE_MIXER);
  stage.set_labels(v1::LABELS_TEACHER);
  stage.set_world_size(world_size);
  return job;
}

// Median over all steps but the first, in which buffers are made.
double StepSeconds(Cluster& cluster, const v1::JobSpec& job) {
  const uint64_t run_id = cluster.Submit(job);
  const RunHistory history(cluster.address(), run_id);
  RETORT_CHECK(history.HasEnded(kEndSeconds)) << history.Render();
  std::istringstream lines(cluster.Download(run_id).at("metrics.jsonl"));
  std::vector<double> seconds;
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json step = nlohmann::json::parse(line);
    if (step["stage"] != "end_to_end" || step["step"] == 1) continue;
    seconds.push_back(step["step_seconds"].get<double>() / job.stages().end_to_end().world_size());
  }
  RETORT_CHECK(seconds.size() == kSteps - 1) << seconds.size();
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

void Bench() {
  const BenchInputs inputs(kLayers, kVocabulary, kSteps * static_cast<int64_t>(kStepTokens), kSeqLen);
  Cluster cluster(RETORT_BIN_DIR);
  for (const char* name : {"a", "b"}) cluster.StartWorker(name, inputs.directory());
  RETORT_CHECK(Eventually(60, [&] { return cluster.registered_workers() == 2; }));
  double alone = 1e9, together = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    alone = std::min(alone, StepSeconds(cluster, GangJob(1, round)));
    together = std::min(together, StepSeconds(cluster, GangJob(2, round)));
  }
  const std::string what = absl::StrCat("stage 3, ", kStepTokens, " tokens a step: ");
  Report(what + "one worker of one thread", static_cast<double>(kStepTokens) / alone, "tokens/s");
  Report(what + "two ranks of one thread", static_cast<double>(kStepTokens) / together, "tokens/s");
  Report(what + "two ranks over one", alone / together, "x", AtLeast(1.8));
}

const bool registered = RegisterBench("stage 3 by a gang", &Bench);

}  // namespace
}  // namespace retort
