#include "tool/probe.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "core/base/job_work.h"
#include "core/base/machine_memory.h"
#include "core/base/status_macros.h"
#include "core/config/job_file.h"
#include "core/config/teacher_shape.h"
#include "model/teacher/teacher.h"
#include "train/data/batches.h"
#include "train/probe/keep_attention.h"

namespace retort {
namespace {

using nlohmann::json;

absl::StatusOr<v1::JobSpec> LoadProbeJob(const ProbeOptions& options) {
  ASSIGN_OR_RETURN(v1::JobSpec job, LoadJob(options.job, options.roots));
  absl::StatusOr<v1::JobSpec> probe = ProbeJob(std::move(job), static_cast<uint64_t>(options.steps));
  if (probe.ok()) return probe;
  return absl::Status(probe.status().code(),
                      absl::StrCat(options.job.string(), ": ", probe.status().message()));
}

json ChoiceJson(const LayerChoice& choice) { return {{"layers", choice.layers}, {"kl", choice.kl}}; }

json ResultJson(const Probed& probed) {
  json result = {{"keep_attention", probed.best.layers},
                 {"kl", probed.costs.all},
                 {"layers", json::array()},
                 {"restored", json::array()},
                 {"evenly", ChoiceJson(probed.evenly)},
                 {"farthest", ChoiceJson(probed.farthest)}};
  for (size_t l = 0; l < probed.distances.size(); ++l) {
    result["layers"].push_back({{"kl_alone", probed.costs.alone[l]}, {"distance", probed.distances[l]}});
  }
  for (const LayerCosts::Restored& restored : probed.costs.restored) {
    result["restored"].push_back({{"layer", restored.layer}, {"kl", restored.kl}});
  }
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
  ASSIGN_OR_RETURN(const v1::ModelShape shape, ReadTeacherShape(directory));
  RETURN_IF_ERROR(CheckProbeFits(job, shape, MachineMemoryBytes()));
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
  bool is_comparing = false;
  const auto on_comparison = [&](int64_t compared, int64_t all) {
    if (!is_comparing) progress.StartPhase("comparing with the teacher", 0, all, "model");
    is_comparing = true;
    progress.Step({.step = compared});
  };
  ASSIGN_OR_RETURN(const Probed probed, ProbeLayers(job, teacher, batches, options.keep, options.sequences,
                                                    {on_step, on_comparison}, stop));
  progress.EndPhase();
  return ResultJson(probed);
}

}  // namespace retort
