#include "worker/agent/holding.h"

#include <algorithm>
#include <utility>

#include "core/base/check.h"

namespace retort {
namespace {

bool Contains(const std::vector<uint32_t>& layers, uint32_t layer) {
  return std::find(layers.begin(), layers.end(), layer) != layers.end();
}

// The mean of what was added since the last call, or what it was then.
double TakeMean(double& sum, uint64_t& count, double& last) {
  if (count > 0) last = sum / static_cast<double>(count);
  sum = 0;
  count = 0;
  return last;
}

}  // namespace

Holding::Holding(v1::Slice slice) : slice_(std::move(slice)) {
  for (const v1::SliceLayer& layer : slice_.layers()) {
    HeldLayer& held = layers_[layer.layer()];
    held.step = held.published_step = layer.next_step();
    held.total_steps = layer.total_steps();
  }
}

std::vector<uint32_t> Holding::Numbers() const {
  std::vector<uint32_t> numbers;
  for (const auto& [number, layer] : layers_) numbers.push_back(number);
  return numbers;
}

uint64_t Holding::slowest_step() const {
  const auto slowest = std::min_element(layers_.begin(), layers_.end(), [](const auto& a, const auto& b) {
    return a.second.step < b.second.step;
  });
  return slowest == layers_.end() ? 0 : slowest->second.step;
}

bool Holding::IsFinished(const HeldLayer& layer) const {
  if (is_prepare()) return is_prepared_;
  if (is_other_rank()) return false;
  return layer.step == layer.total_steps && (!is_end_to_end() || is_result_made_);
}

bool Holding::IsPublished(const HeldLayer& layer) const {
  if (is_other_rank()) return true;
  return layer.published_step == layer.step && (!is_end_to_end() || !is_result_made_ || is_result_published_);
}

bool Holding::IsTrainable(const HeldLayer& layer) const {
  return layer.in_work && layer.wish == Wish::kTrain && (layer.step < layer.total_steps || is_other_rank());
}

bool Holding::HasCopy(const HeldLayer& layer) const {
  return is_other_rank() || layer.step <= std::max(layer.published_step, layer.copied_step);
}

void Holding::ObeyVerdict(const v1::LeaseVerdict& verdict) {
  const std::vector<uint32_t> named(verdict.layers().begin(), verdict.layers().end());
  for (auto& [number, layer] : layers_) {
    const bool is_named = Contains(named, number);
    if (verdict.action() == v1::LEASE_ACTION_STOP && is_named) {
      layer.wish = Wish::kStop;
      layer.cause = verdict.cause();
    }
    if (verdict.action() == v1::LEASE_ACTION_STOP || layer.wish == Wish::kStop) continue;
    if (layer.is_going) continue;
    layer.wish = is_named ? Wish::kYield : Wish::kTrain;
    layer.cause = verdict.cause();
  }
}

void Holding::YieldAll(v1::EndCause cause) {
  for (auto& [number, layer] : layers_) {
    if (layer.wish != Wish::kTrain) continue;
    layer.wish = Wish::kYield;
    layer.cause = cause;
  }
}

bool Holding::AllAskedBack() const {
  return std::none_of(layers_.begin(), layers_.end(),
                      [](const auto& entry) { return entry.second.wish == Wish::kTrain; });
}

bool Holding::NeedsLoad() const {
  return std::any_of(layers_.begin(), layers_.end(), [this](const auto& entry) {
    return entry.second.wish == Wish::kTrain && !entry.second.is_going && !IsFinished(entry.second);
  });
}

v1::Slice Holding::BeginLoad() {
  v1::Slice slice = slice_;
  slice.clear_layers();
  for (const v1::SliceLayer& layer : slice_.layers()) {
    const auto held = layers_.find(layer.layer());
    if (held == layers_.end() || IsFinished(held->second)) continue;
    if (held->second.wish == Wish::kTrain) {
      held->second.in_work = true;
      *slice.add_layers() = layer;
    } else {
      held->second.is_going = true;
    }
  }
  return slice;
}

void Holding::OnLoadEnd(int64_t now_ms, bool is_loaded) {
  interval_began_ms_ = now_ms;
  if (is_loaded) return;
  for (auto& [number, layer] : layers_) layer.in_work = false;
  gone_in_work_.clear();
}

bool Holding::NeedsWork() const {
  return std::any_of(layers_.begin(), layers_.end(), [this](const auto& entry) {
    const HeldLayer& layer = entry.second;
    if (!layer.in_work || layer.wish == Wish::kStop) return false;
    return !IsFinished(layer) || !HasCopy(layer);
  });
}

bool Holding::CanStep() const {
  return std::any_of(layers_.begin(), layers_.end(),
                     [this](const auto& entry) { return IsTrainable(entry.second); });
}

void Holding::OnStep(int64_t now_ms, const StepReport& report) {
  for (const LayerStep& step : report.layers) {
    const auto held = layers_.find(step.layer);
    if (held == layers_.end()) continue;  // gone while it stepped
    HeldLayer& layer = held->second;
    const bool follows = is_end_to_end() ? step.step > layer.step : step.step == layer.step + 1;
    RETORT_CHECK(follows && step.step <= layer.total_steps)
        << "layer " << step.layer << " went from step " << layer.step << " to " << step.step;
    layer.step = step.step;
    layer.loss = step.loss;
    layer.seconds += step.seconds;
    if (step.seconds > 0) ++layer.steps;
  }
  if (report.layers.empty()) return;
  teacher_seconds_ += report.teacher_seconds;
  ++teacher_steps_;
  received_bytes_ = report.received_bytes;
  receive_seconds_ = report.receive_seconds;
  if (HasIntervalPassed(now_ms)) is_interval_due_ = true;
}

bool Holding::HasIntervalPassed(int64_t now_ms) {
  const v1::CheckpointSpec& checkpoint = slice_.job().checkpoint();
  if (checkpoint.every_seconds() > 0) {
    if (now_ms - interval_began_ms_ < int64_t{checkpoint.every_seconds()} * 1000) return false;
    interval_began_ms_ = now_ms;
    return true;
  }
  std::optional<uint64_t> slowest;
  for (const auto& [number, layer] : layers_) {
    if (IsTrainable(layer) && (!slowest || layer.step < *slowest)) slowest = layer.step;
  }
  return slowest && *slowest % checkpoint.every_steps() == 0;
}

bool Holding::CanMakeResult() const {
  if (!is_end_to_end() || is_other_rank() || is_result_made_ || layers_.empty()) return false;
  const HeldLayer& layer = layers_.begin()->second;
  return layer.in_work && layer.wish == Wish::kTrain && layer.step == layer.total_steps;
}

Holding::Departure Holding::BeginDeparture() {
  Departure departure;
  departure.drop = gone_in_work_;
  for (auto& [number, layer] : layers_) {
    const bool goes = layer.wish == Wish::kStop || (layer.wish == Wish::kYield && !IsFinished(layer));
    if (!layer.in_work || layer.is_going || !goes) continue;
    layer.is_going = true;
    departure.drop.push_back(number);
    if (layer.wish == Wish::kYield && !HasCopy(layer)) departure.copy.push_back(number);
  }
  std::sort(departure.drop.begin(), departure.drop.end());
  return departure;
}

void Holding::OnDeparted(const std::vector<uint32_t>& dropped) {
  for (const uint32_t number : dropped) {
    const auto held = layers_.find(number);
    if (held != layers_.end()) held->second.in_work = false;
    std::erase(gone_in_work_, number);
  }
}

std::vector<uint32_t> Holding::BeginCopy() {
  std::vector<uint32_t> layers;
  for (const auto& [number, layer] : layers_) {
    const bool is_due = is_interval_due_ || layer.step == layer.total_steps;
    if (layer.in_work && layer.wish != Wish::kStop && is_due && !HasCopy(layer)) layers.push_back(number);
  }
  is_interval_due_ = false;
  return layers;
}

void Holding::OnCopied(const std::vector<SavedLayer>& saved) {
  for (const SavedLayer& copy : saved) {
    const auto held = layers_.find(copy.layer);
    if (held == layers_.end()) continue;
    RETORT_CHECK(copy.step == held->second.step)
        << "layer " << copy.layer << " at step " << held->second.step << " was copied at " << copy.step;
    held->second.copied_step = copy.step;
  }
}

void Holding::ForgetCopy(uint32_t layer) {
  const auto held = layers_.find(layer);
  if (held != layers_.end()) held->second.copied_step = 0;
}

bool Holding::IsNeeded(const SavedLayer& copy) const {
  const auto held = layers_.find(copy.layer);
  return held != layers_.end() && held->second.is_going && held->second.step == copy.step;
}

bool Holding::NeedsPublish(uint32_t layer) const {
  const auto held = layers_.find(layer);
  return held != layers_.end() && held->second.wish != Wish::kStop && !IsPublished(held->second);
}

bool Holding::MustPublish(uint32_t layer) const {
  const auto held = layers_.find(layer);
  return held != layers_.end() && (held->second.is_going || held->second.step == held->second.total_steps);
}

void Holding::OnPublished(const v1::BeginPublishRequest& publish) {
  if (publish.kind() == v1::PUBLISH_KIND_RESULT) {
    is_result_published_ = true;
    return;
  }
  for (const v1::LayerCheckpoint& checkpoint : publish.layers()) {
    const auto held = layers_.find(checkpoint.layer());
    if (held == layers_.end()) continue;
    held->second.published_step = checkpoint.step();
    if (held->second.copied_step <= checkpoint.step()) held->second.copied_step = 0;
  }
}

Holding::GiveBack Holding::ToGiveBack() const {
  GiveBack yield, stop;
  bool is_yield_ready = true;
  for (const auto& [number, layer] : layers_) {
    // Completed first: what remains may not have a hole.
    if (layer.wish != Wish::kStop && IsFinished(layer)) is_yield_ready = false;
    if (layer.wish == Wish::kTrain || (layer.wish == Wish::kYield && IsFinished(layer))) continue;
    GiveBack& back = layer.wish == Wish::kStop ? stop : yield;
    if (back.layers.empty()) back.cause = layer.cause;
    if (layer.cause != back.cause) continue;
    back.layers.push_back(number);
    if (layer.wish == Wish::kYield && (layer.in_work || !IsPublished(layer))) is_yield_ready = false;
  }
  if (!stop.layers.empty()) return stop;
  return is_yield_ready ? yield : GiveBack{};
}

std::vector<uint32_t> Holding::ToComplete() const {
  std::vector<uint32_t> layers;
  for (const auto& [number, layer] : layers_) {
    if (layer.wish != Wish::kStop && IsFinished(layer) && IsPublished(layer)) layers.push_back(number);
  }
  return layers;
}

void Holding::OnGone(const std::vector<uint32_t>& layers) {
  for (const uint32_t number : layers) {
    const auto held = layers_.find(number);
    if (held == layers_.end()) continue;
    if (held->second.in_work) gone_in_work_.push_back(number);
    layers_.erase(held);
  }
}

void Holding::Report(v1::SliceProgress& progress) {
  progress.set_token(token());
  for (auto& [number, layer] : layers_) {
    v1::LayerProgress& reported = *progress.add_layers();
    reported.set_layer(number);
    reported.set_step(layer.step);
    reported.set_loss(layer.loss);
    reported.set_train_seconds_per_step(TakeMean(layer.seconds, layer.steps, layer.seconds_per_step));
  }
  progress.set_teacher_seconds_per_step(
      TakeMean(teacher_seconds_, teacher_steps_, teacher_seconds_per_step_));
  progress.set_received_bytes(received_bytes_);
  progress.set_receive_seconds(receive_seconds_);
}

}  // namespace retort
