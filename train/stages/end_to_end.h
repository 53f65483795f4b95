// Stage 3: the whole student against the teacher's distribution, or against the text.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "model/lm/language_model.h"
#include "train/data/batches.h"
#include "train/optim/adamw.h"
#include "train/parallel/gradient_reducer.h"
#include "train/parallel/rank_group.h"
#include "train/stages/stage_plan.h"

namespace retort {

// Not thread-safe.
class EndToEnd {
 public:
  // All three references must outlive this. With scope ALL every tensor of `student` that is the teacher's
  // memory is first replaced by a copy.
  EndToEnd(const StagePlan& plan, const LanguageModel& teacher, LanguageModel& student,
           const Batches& batches);
  ~EndToEnd();
  EndToEnd(const EndToEnd&) = delete;
  EndToEnd& operator=(const EndToEnd&) = delete;

  // From the next step on this is one rank of `group`: it computes its share of each step's micro-batches,
  // and all ranks apply the sum. At most as many ranks as micro-batches. nullptr: alone again. `group`
  // outlives that.
  void Join(RankGroup* group);

  // One optimiser step; gradients are clipped to a norm of 1. Returns the mean loss, nats per predicted
  // token, of all ranks. After an error the step was not applied here; CANCELLED soon after `stop` is set,
  // UNAVAILABLE when a rank has gone. After any error leave the group. `ballot` is for a rank's wish to part, `verdict` what the ranks have said.
  absl::StatusOr<double> Step(int64_t step, const std::atomic<bool>& stop, Ballot ballot = Ballot::kApply);
  Ballot verdict() const { return verdict_; }

  AdamW& optimizer() { return *optimizer_; }

 private:
  // The whole step's gradients, clipped; its mean loss.
  absl::StatusOr<double> Accumulate(int64_t step, const std::atomic<bool>& stop);
  absl::StatusOr<double> AccumulatePass(int64_t step, int64_t pass);
  // The sums over the ranks of what the Reducer does not see, and of the loss.
  absl::Status SumOverRanks(double& loss);
  bool IsOutsideAutograd(const at::Tensor& value) const;

  const StagePlan plan_;
  StagePlan passes_;  // plan_ as the group shares it out
  const LanguageModel& teacher_;
  LanguageModel& student_;
  const Batches& batches_;
  int64_t first_own_layer_;  // below it the student computes exactly what the teacher does
  std::unique_ptr<AdamW> optimizer_;
  RankGroup* group_ = nullptr;
  std::unique_ptr<GradientReducer> reducer_;  // with group_
  Ballot verdict_ = Ballot::kApply;
};

// The tensors that stage 3 trains. A tied head is the embedding and is listed once.
std::vector<Trainable> EndToEndTrainables(v1::TrainScope scope, LanguageModel& student);

}  // namespace retort
