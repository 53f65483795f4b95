#include "worker/relay/slice_relay.h"

#include <utility>

#include "core/base/check.h"

namespace retort {
namespace {

constexpr int64_t kTurnWaitMs = 1'000;

const StagePlan& PlanOf(const ServedRun& run, v1::Stage stage) {
  const StagePlan* const plan = run.PlanOf(stage);
  RETORT_CHECK(plan != nullptr) << "stage " << stage;
  return *plan;
}

}  // namespace

SliceRelay::SliceRelay(Relay& relay, std::shared_ptr<const ServedRun> run, const v1::Slice& slice)
    : relay_(relay),
      run_(std::move(run)),
      plan_(PlanOf(*run_, slice.stage())),
      slice_(RelayedSliceOf(slice)) {
  const int64_t pass_elements = plan_.micro_batch * plan_.seq_len * run_->teacher.config.hidden_size;
  slice_.limits = RelayLimitsOf(plan_.micro_batches, pass_elements * static_cast<int64_t>(sizeof(float)));
  relay_.state().BeginSlice(run_, slice_, slice.relay());
  if (slice.input() == v1::INPUT_SOURCE_RELAY) {
    prefetcher_ = std::make_unique<Prefetcher>(relay_.upstream(), run_, slice_, relay_.log());
  }
}

SliceRelay::~SliceRelay() {
  prefetcher_.reset();
  relay_.state().EndSlice();
  relay_.log().Info(relay_.state().counts().Text(), {slice_.run_id, slice_.stage, slice_.token, 0});
}

bool SliceRelay::AwaitTurn(int64_t step, int64_t lowest, int64_t highest, const std::atomic<bool>& stop) {
  lowest_ = lowest;
  highest_ = highest;
  if (prefetcher_ != nullptr) prefetcher_->StartAt(step, lowest);
  return relay_.state().AwaitTurn(step, kTurnWaitMs, stop);
}

absl::StatusOr<Boundary> SliceRelay::Input(int64_t step, int64_t pass, const std::atomic<bool>& stop) {
  std::optional<Boundary> pulled = prefetcher_->Get(step, pass, stop);
  if (pulled) return *std::move(pulled);
  if (stop.load()) return absl::CancelledError("training stopped");
  relay_.state().counts().recomputed += 1;
  return EmbedMicroBatch(plan_, run_->teacher, *run_->batches, step, pass);
}

PassRelay SliceRelay::BeginStep(int64_t step, const std::atomic<bool>& stop) {
  const int64_t output_boundary = highest_ + 1;
  relay_.state().BeginStep(step, output_boundary);
  PassRelay pass_relay;
  if (prefetcher_ != nullptr) {
    pass_relay.input = [this, &stop](int64_t of_step, int64_t pass) { return Input(of_step, pass, stop); };
  }
  if (relay_.state().is_wanted()) {
    pass_relay.output_boundary = output_boundary;
    pass_relay.output = [this](int64_t of_step, int64_t pass, const at::Tensor& hidden_BTE) {
      relay_.state().Put(of_step, pass, hidden_BTE);
    };
  }
  return pass_relay;
}

void SliceRelay::EndStep(int64_t teacher_blocks, int64_t next_step) {
  relay_.state().counts().trained_blocks += static_cast<uint64_t>(teacher_blocks);
  relay_.state().EndStep(next_step);
}

}  // namespace retort
