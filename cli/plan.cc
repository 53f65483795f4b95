#include "cli/plan.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/terminal.h"

namespace retort {
namespace {

void AddStage(const std::string& name, const v1::StageBudget& budget, uint64_t tokens_per_micro_batch,
              Table& table) {
  const uint64_t steps = (budget.tokens() + budget.tokens_per_step() - 1) / budget.tokens_per_step();
  table.AddRow({name, absl::StrCat(steps), absl::StrCat(steps * budget.tokens_per_step()),
                absl::StrCat(budget.tokens_per_step()),
                absl::StrCat(budget.tokens_per_step() / tokens_per_micro_batch),
                absl::StrFormat("%g", budget.lr())});
}

}  // namespace

std::string RenderPlan(const v1::JobSpec& job) {
  Table table({{"STAGE"},
               {"STEPS", Align::kRight},
               {"TOKENS", Align::kRight},
               {"TOKENS_PER_STEP", Align::kRight},
               {"ACCUMULATION", Align::kRight},
               {"LR", Align::kRight}});
  const uint64_t tokens_per_micro_batch = uint64_t{job.data().seq_len()} * job.micro_batch();
  const v1::StagesSpec& stages = job.stages();
  if (stages.has_matrix_orientation()) {
    AddStage("matrix_orientation", stages.matrix_orientation().budget(), tokens_per_micro_batch, table);
  }
  if (stages.has_hidden_state_alignment()) {
    AddStage("hidden_state_alignment", stages.hidden_state_alignment().budget(), tokens_per_micro_batch,
             table);
  }
  if (stages.has_end_to_end()) {
    AddStage("end_to_end", stages.end_to_end().budget(), tokens_per_micro_batch, table);
  }
  return table.Render();
}

}  // namespace retort
