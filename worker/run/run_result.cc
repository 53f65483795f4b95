#include "worker/run/run_result.h"

#include "core/base/check.h"
#include "train/optim/schedule.h"

namespace retort {
namespace {

using nlohmann::json;

double MeanLossAt(const StageRecord& stage, size_t step) {
  double sum = 0;
  for (const auto& [layer, history] : stage.histories) sum += history.losses[step];
  return sum / static_cast<double>(stage.histories.size());
}

double Seconds(const StageRecord& stage) {
  double sum = 0;
  for (const auto& [layer, history] : stage.histories) {
    for (double seconds : history.seconds) sum += seconds;
  }
  return sum;
}

}  // namespace

std::string MetricsText(const std::vector<StageRecord>& stages) {
  std::string text;
  for (const StageRecord& stage : stages) {
    const bool of_student = stage.plan.stage == Stage::kEndToEnd;
    for (int64_t step = 0; step < stage.plan.steps; ++step) {
      for (const auto& [layer, history] : stage.histories) {
        text += json({{"stage", StageName(stage.plan.stage)},
                      {"step", step + 1},
                      {"layer", of_student ? json(nullptr) : json(layer)},
                      {"loss", history.losses[step]},
                      {"lr", WsdRate(step, stage.plan.steps, stage.plan.lr)},
                      {"step_seconds", history.seconds[step]}})
                    .dump() +
                "\n";
      }
    }
  }
  return text;
}

json StageJson(const StageRecord& stage) {
  RETORT_CHECK(stage.plan.steps > 0 && !stage.histories.empty()) << StageName(stage.plan.stage);
  json described = {{"name", StageName(stage.plan.stage)},
                    {"tokens", stage.plan.steps * stage.plan.tokens_per_step()},
                    {"seconds", Seconds(stage)},
                    {"loss_first", MeanLossAt(stage, 0)},
                    {"loss_last", MeanLossAt(stage, static_cast<size_t>(stage.plan.steps) - 1)},
                    {"student", stage.student}};
  if (stage.world_size > 0) described["world_size"] = stage.world_size;
  return described;
}

}  // namespace retort
