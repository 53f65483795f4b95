#include "core/base/job_work.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"

namespace retort {

uint64_t StageSteps(const v1::StageBudget& budget) {
  RETORT_CHECK(budget.tokens_per_step() > 0);
  return (budget.tokens() + budget.tokens_per_step() - 1) / budget.tokens_per_step();
}

std::vector<std::string> TrainFiles(const v1::DataSpec& data) {
  std::vector<std::string> files(data.train().begin(), data.train().end());
  for (const v1::DataPhase& phase : data.phases()) {
    files.insert(files.end(), phase.train().begin(), phase.train().end());
  }
  return files;
}

uint64_t EndToEndSequences(const v1::JobSpec& job) {
  if (!job.stages().has_end_to_end()) return 1;
  return job.stages().end_to_end().budget().tokens_per_step() / job.data().seq_len();
}

uint64_t PassSequences(uint64_t sequences, uint64_t most, uint64_t ranks) {
  RETORT_CHECK(ranks >= 1 && ranks <= sequences) << ranks << " ranks for " << sequences << " sequences";
  for (const bool evenly : {true, false}) {
    for (uint64_t size = most; size >= 1; --size) {
      const uint64_t passes = sequences / size;
      if (sequences % size == 0 && passes >= ranks && !(evenly && passes % ranks != 0)) return size;
    }
  }
  RETORT_CHECK(false) << "passes of one sequence always do";
  return 1;
}

uint32_t StudentGroups(const v1::StudentSpec& student, uint32_t query_heads) {
  const bool per_head = student.groups() == 0 && student.mixer() == v1::MIXER_KIND_DISCRETE_MAMBA2;
  return per_head ? query_heads : student.groups();
}

bool AwaitsProbe(const v1::KeepAttention& keep) { return keep.auto_layers() > 0 && keep.layers().empty(); }

absl::StatusOr<std::vector<uint32_t>> ConvertedLayers(uint32_t layers, const v1::KeepAttention& keep) {
  std::vector<bool> kept(layers);
  for (const uint32_t layer : keep.layers()) {
    if (layer >= layers) {
      return absl::InvalidArgumentError(absl::StrCat("student.keep_attention names layer ", layer,
                                                     ", but the teacher's layers are 0 to ", layers - 1));
    }
    kept[layer] = true;
  }
  if (keep.layers().empty() && keep.every() > 0) {
    for (uint64_t layer = keep.offset(); layer < layers; layer += keep.every()) kept[layer] = true;
  }
  if (AwaitsProbe(keep)) {
    for (uint32_t layer = 0; layer < std::min(layers, keep.auto_layers()); ++layer) kept[layer] = true;
  }
  std::vector<uint32_t> converted;
  for (uint32_t layer = 0; layer < layers; ++layer) {
    if (!kept[layer]) converted.push_back(layer);
  }
  if (converted.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("student.keep_attention keeps all ", layers, " layers: nothing is left to convert"));
  }
  return converted;
}

}  // namespace retort
