// END_TO_END at work: assembles the student from the hand-over, measures it, trains it, makes the result.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/log.h"
#include "nlohmann/json.hpp"
#include "retort/v1/worker_service.pb.h"
#include "train/stages/end_to_end.h"
#include "worker/agent/slice_work.h"
#include "worker/run/evaluation.h"
#include "worker/run/gang_membership.h"
#include "worker/run/rank_state.h"
#include "worker/run/run_material.h"
#include "worker/run/run_result.h"
#include "worker/run/saved_tensors.h"

namespace retort {

// See SliceWork; its one layer is its rank in the run's gang. Ranks above 0 measure nothing and make no
// result.
class EndToEndWork : public SliceWork {
 public:
  // `teacher` is whole. Tells `on_measuring` before it measures; nothing is measured that the slice's
  // checkpoint holds. What was `left` here by another rank of this run is taken, unless loading fails,
  // and counts where it is further than the checkpoint; a rank that ends leaves its own there.
  // INVALID_ARGUMENT when the hand-over lacks a layer of a stage; otherwise errors as Workshop::Load.
  // `slice`, `gang`, `left` and `log` outlive the object.
  static absl::StatusOr<std::unique_ptr<EndToEndWork>> Load(const v1::Slice& slice,
                                                            const RunMaterial& material,
                                                            LanguageModel teacher, CheckpointSource& source,
                                                            GangCalls& gang, std::optional<LeftRank>& left,
                                                            Log& log, const std::atomic<bool>& stop,
                                                            const std::function<void()>& on_measuring);

  absl::StatusOr<StepReport> Step(const std::atomic<bool>& stop) override;
  std::vector<uint32_t> failed_layers() const override { return {}; }
  std::vector<SavedLayer> Copy(const std::vector<uint32_t>& layers) override;
  void Drop(const std::vector<uint32_t>& layers) override;
  absl::StatusOr<SavedLayer> MakeResult(const std::atomic<bool>& stop) override;

 private:
  EndToEndWork(const v1::Slice& slice, const RunMaterial& material, LanguageModel teacher, GangCalls& gang,
               std::optional<LeftRank>& left, Log& log);
  void TakeLeft();

  // INVALID_ARGUMENT names the first layer that the hand-over lacks.
  absl::Status CheckHandover() const;
  const v1::CheckpointRef* Handed(Stage stage, int64_t layer) const;
  // The histories of an earlier stage, and into the student what its layers became in it.
  absl::Status TakeStage(StageRecord& stage, CheckpointSource& source, const std::atomic<bool>& stop);
  // Fills `measured`, unless it has been filled before; `what` is for the log.
  absl::Status MeasureOnce(nlohmann::json& measured, const std::string& what, const LanguageModel& model,
                           const std::atomic<bool>& stop);
  // Keeps the matrix of a head for the report, unless `moment` has one: "teacher", "untrained" or a stage.
  absl::Status ShowMatrixOnce(const std::string& moment, const LanguageModel& model);
  // Of rank 0: with histories and measurements.
  absl::Status Assemble(CheckpointSource& source, const std::atomic<bool>& stop);
  // Of the others: the student alone.
  absl::Status AssembleToTrain(CheckpointSource& source, const std::atomic<bool>& stop);
  absl::Status Resume(CheckpointSource& source, const std::atomic<bool>& stop);
  // Resume's part that every rank takes: the student, its history and, with steps to take, the training.
  absl::Status TakeCheckpoint(const SavedTensors& tensors, uint64_t step);
  // Whether the gang is there and this rank is where the others are.
  absl::StatusOr<bool> EnterGang(const std::atomic<bool>& stop);
  void LeaveGang();
  void LogTakeover(size_t from_step);
  StepReport ReportHere(double seconds) const;
  nlohmann::json ResultJson(const std::vector<StageRecord>& stages) const;
  absl::StatusOr<nlohmann::json> ReportJson(const std::vector<StageRecord>& stages,
                                            const std::atomic<bool>& stop) const;
  LogContext context() const;

  const v1::Slice& assignment_;
  const uint32_t rank_;
  std::optional<LeftRank>& left_;
  Log& log_;
  const RunInputs inputs_;
  const LanguageModel teacher_;
  LanguageModel student_;
  const std::shared_ptr<const Batches> batches_;
  std::vector<StageRecord> earlier_;  // the job's stages before this one
  std::optional<StagePlan> plan_;     // nothing: the job asks for no steps
  std::optional<Evaluation> evaluation_;
  std::optional<GangMembership> gang_;  // nothing: trains alone
  std::unique_ptr<EndToEnd> training_;  // null without plan_
  StepHistory history_;
  uint64_t alike_generation_ = 0;  // RankState::generation
  bool is_unreported_ = false;     // where it stands, as taken from `left`
  size_t copied_steps_ = 0;        // where the last checkpoint stands
  // {teacher, initial, stages{NAME: the student after it}, matrices{MOMENT: of one head}, seconds that
  // measuring took}: what goes into checkpoints, so that a restart does not measure again.
  nlohmann::json measured_;
};

}  // namespace retort
