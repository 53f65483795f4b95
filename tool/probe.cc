#include "tool/probe.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "core/base/job_work.h"
#include "core/base/status_macros.h"
#include "core/config/job_file.h"
#include "model/teacher/teacher.h"
#include "train/data/batches.h"
#include "train/probe/keep_attention.h"

namespace retort {
namespace {

using nlohmann::json;

absl::StatusOr<v1::JobSpec> LoadProbeJob(const ProbeOptions& options) {
  ASSIGN_OR_RETURN(v1::JobSpec job, LoadJob(options.job, options.roots));
  v1::StagesSpec& stages = *job.mutable_stages();
  if (!stages.has_matrix_orientation() && !stages.has_hidden_state_alignment()) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.job.string(),
                     ": a probe converts layers by matrix_orientation and "
                     "hidden_state_alignment, and the job has neither; give one"));
  }
  const auto shorten = [&](v1::StageBudget& budget) {
    budget.set_tokens(
        std::min(budget.tokens(), static_cast<uint64_t>(options.steps) * budget.tokens_per_step()));
  };
  if (stages.has_matrix_orientation()) shorten(*stages.mutable_matrix_orientation()->mutable_budget());
  if (stages.has_hidden_state_alignment())
    shorten(*stages.mutable_hidden_state_alignment()->mutable_budget());
  return job;
}

json ResultJson(const LayerCosts& costs) {
  json result = {{"kl", costs.all}, {"layers", json::array()}, {"restored", json::array()}};
  for (const double kl : costs.alone) result["layers"].push_back({{"kl_alone", kl}});
  std::vector<int64_t> kept;
  for (const LayerCosts::Restored& restored : costs.restored) {
    result["restored"].push_back({{"layer", restored.layer}, {"kl", restored.kl}});
    kept.push_back(restored.layer);
  }
  std::sort(kept.begin(), kept.end());
  result["keep_attention"] = kept;
  return result;
}

}  // namespace

absl::StatusOr<json> RunProbe(const ProbeOptions& options, Progress& progress,
                              const std::atomic<bool>& stop) {
  if (options.threads > 0) at::set_num_threads(options.threads);
  ASSIGN_OR_RETURN(const v1::JobSpec job, LoadProbeJob(options));
  const std::filesystem::path beside = options.job.parent_path();
  std::vector<std::filesystem::path> places = {beside.empty() ? "." : beside};
  places.insert(places.end(), options.roots.begin(), options.roots.end());
  ASSIGN_OR_RETURN(const std::filesystem::path directory, ResolvePath(job.teacher().path(), places));
  ASSIGN_OR_RETURN(const LanguageModel teacher, LoadTeacher(directory));
  const int64_t layers = teacher.config.num_layers();
  if (options.keep >= layers) {
    return absl::InvalidArgumentError(absl::StrCat("--keep ", options.keep, ": the teacher has ", layers,
                                                   " layers, so at most ", layers - 1,
                                                   " can stay attention"));
  }
  std::vector<std::filesystem::path> bins;
  for (const std::string& written : TrainFiles(job.data())) {
    ASSIGN_OR_RETURN(bins.emplace_back(), ResolvePath(written, places));
  }
  ASSIGN_OR_RETURN(const Batches batches,
                   Batches::Open(job.data(), bins, static_cast<int>(teacher.config.vocab_size)));
  std::optional<Stage> stage;
  const auto on_step = [&](const StagePlan& plan, int64_t step, double loss) {
    if (stage != plan.stage) progress.StartPhase(StageName(plan.stage), 0, plan.steps);
    stage = plan.stage;
    progress.Step({.step = step, .loss = loss});
  };
  ASSIGN_OR_RETURN(const LanguageModel student, ConvertEveryLayer(job, teacher, batches, on_step, stop));
  progress.StartPhase("comparing with the teacher", 0, ComparisonsFor(layers, options.keep), "model");
  int64_t compared = 0;
  ASSIGN_OR_RETURN(const LayerCosts costs, MeasureLayerCosts(
                                               teacher, student, batches, options.sequences, options.keep,
                                               [&] { progress.Step({.step = ++compared}); }, stop));
  progress.EndPhase();
  return ResultJson(costs);
}

}  // namespace retort
