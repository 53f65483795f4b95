#include "tests/sim/sim_relay.h"

#include <algorithm>

#include "core/base/relay_limits.h"

namespace retort::sim {
namespace {

constexpr uint64_t kBatchBytes = 512 * 256 * 4;  // of the simulated jobs and teachers

}  // namespace

void SimRelay::BeginSlice(const v1::Slice& slice) {
  trains_ = true;
  run_id_ = slice.run_id();
  stage_ = slice.stage();
  pulls_ = slice.input() == v1::INPUT_SOURCE_RELAY;
  step_ = ~uint64_t{0};
  for (const v1::SliceLayer& layer : slice.layers()) step_ = std::min(step_, layer.next_step());
  highest_layer_ = slice.layers(slice.layers_size() - 1).layer();
  received_bytes_ = 0;
  receive_seconds_ = 0;
  lead_steps_ = RelayLimitsOf(1, static_cast<int64_t>(kBatchBytes)).lead_steps;
  if (orders_token_ != slice.token()) TakeOrders(slice.token(), slice.relay());  // a verdict's are newer
}

void SimRelay::TakeOrders(uint64_t token, const v1::RelayOrders& orders) {
  orders_token_ = token;
  orders_ = orders;
  if (orders.has_upstream()) upstream_ = orders.upstream();
}

void SimRelay::SetPlace(const ChainWork& work) {
  step_ = work.next_step();
  highest_layer_ = work.highest_layer();
}

bool SimRelay::MayTrain() const {
  return !orders_.has_low_step() || step_ < orders_.low_step() + static_cast<uint64_t>(lead_steps_);
}

std::optional<v1::RelayUpstream> SimRelay::upstream() const { return pulls_ ? upstream_ : std::nullopt; }

SimRelay::Answer SimRelay::AnswerTo(const SimRelay& puller, uint32_t boundary) const {
  if (run_id_ == 0 || run_id_ != puller.run_id_ || boundary > highest_layer_ + 1) return Answer::kNotLoaded;
  const auto lead = static_cast<uint64_t>(lead_steps_);
  if (!trains_ || stage_ != puller.stage_ || boundary != highest_layer_ + 1) return Answer::kByTeacher;
  if (step_ <= puller.step_) return puller.step_ <= step_ + lead ? Answer::kComes : Answer::kByTeacher;
  return step_ - puller.step_ <= 2 * (lead + 1) ? Answer::kAtHand : Answer::kByTeacher;
}

void SimRelay::CountHop(double seconds) {
  receive_seconds_ = received_bytes_ == 0 ? seconds : std::min(receive_seconds_, seconds);
  received_bytes_ = kBatchBytes;
}

void SimRelay::Report(StepReport& report) const {
  report.received_bytes = received_bytes_;
  report.receive_seconds = receive_seconds_;
}

}  // namespace retort::sim
