#include "cli/show/plan_table.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/show/words.h"
#include "core/base/terminal.h"

namespace retort {
namespace {

std::string Tagged(const std::string& text, const v1::Figure& figure) {
  return figure.basis() == v1::BASIS_MEASURED
             ? absl::StrCat(text, " measured(run ", figure.measured_run_id(), ")")
             : absl::StrCat(text, " assumed");
}

std::string Duration(const v1::Figure& seconds) {
  return Tagged(FormatPreciseDuration(seconds.value()), seconds);
}

std::string Bytes(const v1::Figure& bytes) { return Tagged(FormatBytes(bytes.value()), bytes); }

std::string LayersText(const v1::PlannedStage& stage, const v1::PlannedSlice& slice) {
  if (stage.stage() == v1::STAGE_END_TO_END) return "all";
  const uint32_t last = slice.first_layer() + slice.layer_count() - 1;
  return slice.layer_count() == 1 ? absl::StrCat(last) : absl::StrCat(slice.first_layer(), "-", last);
}

}  // namespace

std::string RenderPlanReply(const v1::PlanReply& plan) {
  Table stages({{"STAGE"}, {"STEPS", Align::kRight}, {"SLICES", Align::kRight}, {"TIME"}});
  Table slices(
      {{"STAGE"}, {"LAYERS"}, {"WORKER"}, {"STEP"}, {"MEMORY"}, {"HOP"}, {"TEACHER-PASSES", Align::kRight}});
  for (const v1::PlannedStage& stage : plan.stages()) {
    stages.AddRow({Word(stage.stage()), absl::StrCat(stage.steps()), absl::StrCat(stage.slices_size()),
                   Duration(stage.seconds())});
    for (const v1::PlannedSlice& slice : stage.slices()) {
      slices.AddRow({Word(stage.stage()), LayersText(stage, slice),
                     slice.worker_name().empty() ? "(assumed)" : slice.worker_name(),
                     Duration(slice.seconds_per_step()), Bytes(slice.memory_bytes()),
                     Bytes(slice.hop_bytes_per_step()), absl::StrFormat("%.2f", slice.teacher_passes())});
    }
  }
  std::string text =
      absl::StrCat(stages.Render(), "\n", slices.Render(), "\nin all about ", Duration(plan.seconds()), "\n");
  for (const std::string& reason : plan.reasons()) absl::StrAppend(&text, "- ", reason, "\n");
  return text;
}

}  // namespace retort
