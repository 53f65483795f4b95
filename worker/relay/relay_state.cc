#include "worker/relay/relay_state.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/clock.h"
#include "model/teacher/teacher.h"

namespace retort {
namespace {

using std::chrono::milliseconds;

// Between two steps a worker copies checkpoints and obeys orders. Training that is away for longer may have
// stopped.
constexpr int64_t kTrainingAwayMs = 3'000;
constexpr milliseconds kPoll{50};  // for `stop`
// Of a slice that is being loaded, how many of its first steps are waited for; no lead is less.
constexpr int64_t kLeadOfLoading = 2;

}  // namespace

int64_t RelayNowMs() { return static_cast<int64_t>(MonotonicSeconds() * 1000); }

const StagePlan* ServedRun::PlanOf(v1::Stage stage) const {
  for (const StagePlan& plan : plans) {
    if (static_cast<int>(plan.stage) == stage) return &plan;
  }
  return nullptr;
}

void RelayCounts::AddReceived(uint64_t bytes, double seconds) {
  received += 1;
  received_bytes += bytes;
  const uint64_t nanoseconds = std::max<uint64_t>(1, static_cast<uint64_t>(1e9 * seconds));
  uint64_t fastest = fastest_nanoseconds;
  while ((fastest == 0 || nanoseconds < fastest) &&
         !fastest_nanoseconds.compare_exchange_weak(fastest, nanoseconds)) {
  }
}

std::string RelayCounts::Text() const {
  return absl::StrCat("teacher blocks run: ", trained_blocks.load(), " in training, ", served_blocks.load(),
                      " for others; micro-batches: ", received.load(), " received (", received_bytes.load(),
                      " bytes), ", recomputed.load(), " recomputed, ", sent.load(), " sent (",
                      sent_bytes.load(), " bytes)");
}

RelayedSlice RelayedSliceOf(const v1::Slice& slice) {
  RelayedSlice relayed = {.token = slice.token(), .run_id = slice.run_id(), .stage = slice.stage()};
  relayed.pulls = slice.input() == v1::INPUT_SOURCE_RELAY;
  relayed.lowest_layer = slice.layers(0).layer();
  relayed.first_step = std::numeric_limits<int64_t>::max();
  for (const v1::SliceLayer& layer : slice.layers()) {
    relayed.first_step = std::min(relayed.first_step, static_cast<int64_t>(layer.next_step()));
    relayed.output_boundary = layer.layer() + 1;
  }
  return relayed;
}

void RelayState::BeginLoad(const RelayedSlice& slice) {
  MutexLock lock(mutex_);
  loading_ = slice;
  if (run_ != nullptr && run_->run_id != slice.run_id) {
    run_.reset();
    ForgetRun();
  }
  TellChange();
}

void RelayState::ReleaseTeacherFrom(int64_t blocks) {
  MutexLock lock(mutex_);
  if (run_ == nullptr) return;
  auto trimmed = std::make_shared<ServedRun>(*run_);
  trimmed->blocks = std::min(trimmed->blocks, blocks);
  ReleaseBlocks(blocks, trimmed->teacher);
  run_ = std::move(trimmed);
}

void RelayState::BeginSlice(std::shared_ptr<const ServedRun> run, const RelayedSlice& slice,
                            const v1::RelayOrders& orders) {
  MutexLock lock(mutex_);
  if (run_ == nullptr || run_->run_id != run->run_id || run_->identity_sha256 != run->identity_sha256) {
    ForgetRun();
  }
  run_ = std::move(run);
  loading_.reset();
  slice_ = slice;
  step_ = slice.first_step;
  output_boundary_ = slice.output_boundary;
  is_in_step_ = false;
  left_step_ms_ = RelayNowMs();
  counts_.fastest_nanoseconds = 0;
  if (!slice.pulls || (upstream_ && upstream_->boundary() > slice.lowest_layer)) upstream_.reset();
  SetOrders(slice.token, orders_token_ == slice.token ? orders_ : orders);  // a verdict's are newer
  TellChange();
}

void RelayState::EndSlice() {
  MutexLock lock(mutex_);
  loading_.reset();
  slice_.reset();
  TellChange();
}

void RelayState::Clear() {
  MutexLock lock(mutex_);
  loading_.reset();
  slice_.reset();
  run_.reset();
  ForgetRun();
  TellChange();
}

void RelayState::TellChange() {
  ++changes_;
  changed_.notify_all();
}

void RelayState::ForgetRun() {
  buffer_.clear();
  in_order_.clear();
  buffered_bytes_ = 0;
  pulled_.reset();
  upstream_.reset();
}

// The step of the slowest slice above, in the stage of ours.
std::optional<uint64_t> RelayState::Floor() const {
  if (!orders_.has_low_step()) return std::nullopt;
  uint64_t floor = orders_.low_step();
  if (pulled_ && pulled_->stage == slice_->stage) floor = std::max(floor, pulled_->low_step);
  return floor;
}

bool RelayState::AwaitTurn(int64_t step, int64_t wait_ms, const std::atomic<bool>& stop) {
  const int64_t until_ms = RelayNowMs() + wait_ms;
  MutexLock lock(mutex_);
  while (true) {
    const std::optional<uint64_t> floor = Floor();
    if (!floor || step < static_cast<int64_t>(*floor) + slice_->limits.lead_steps) return true;
    if (stop.load() || RelayNowMs() >= until_ms) return false;
    changed_.wait_for(mutex_, kPoll);
  }
}

void RelayState::BeginStep(int64_t step, int64_t output_boundary) {
  MutexLock lock(mutex_);
  step_ = step;
  output_boundary_ = output_boundary;
  is_in_step_ = true;
}

void RelayState::EndStep(int64_t next_step) {
  MutexLock lock(mutex_);
  step_ = next_step;
  is_in_step_ = false;
  left_step_ms_ = RelayNowMs();
  TellChange();
}

bool RelayState::is_wanted() const {
  MutexLock lock(mutex_);
  return IsWanted();
}

// Orders come with heartbeats, so the first Pull may come before them.
bool RelayState::IsWanted() const {
  return orders_.has_low_step() || (pulled_ && slice_ && pulled_->stage == slice_->stage);
}

void RelayState::Put(int64_t step, int64_t pass, at::Tensor hidden_BTE) {
  MutexLock lock(mutex_);
  const Key key = {slice_->stage, static_cast<uint64_t>(step), static_cast<uint32_t>(pass),
                   static_cast<uint32_t>(output_boundary_)};
  const uint64_t bytes = hidden_BTE.nbytes();
  if (!buffer_.emplace(key, std::move(hidden_BTE)).second) return;
  in_order_.push_back(key);
  buffered_bytes_ += bytes;
  while (buffered_bytes_ > slice_->limits.buffer_bytes && in_order_.size() > 1) {
    const auto oldest = buffer_.find(in_order_.front());
    in_order_.pop_front();
    if (oldest == buffer_.end()) continue;
    buffered_bytes_ -= oldest->second.nbytes();
    buffer_.erase(oldest);
  }
  TellChange();
}

void RelayState::DropPassed(const Pulled& pulled) {
  const Key first_kept = {pulled.stage, pulled.low_step, 0, 0};
  for (auto it = buffer_.begin(); it != buffer_.end() && it->first < first_kept;) {
    buffered_bytes_ -= it->second.nbytes();
    it = buffer_.erase(it);
  }
  while (!in_order_.empty() && buffer_.count(in_order_.front()) == 0) in_order_.pop_front();
}

void RelayState::SetOrders(uint64_t token, const v1::RelayOrders& orders) {
  // A slice above that begins lower than the last one stood: what the last one pulled says nothing any more.
  const bool falls =
      token != orders_token_ || !orders.has_low_step() || orders.low_step() < orders_.low_step();
  if (falls) pulled_.reset();
  orders_token_ = token;
  orders_ = orders;
  if (orders.has_upstream()) upstream_ = orders.upstream();
}

void RelayState::TakeOrders(uint64_t token, const v1::RelayOrders& orders) {
  MutexLock lock(mutex_);
  SetOrders(token, orders);
  TellChange();
}

std::optional<v1::RelayUpstream> RelayState::upstream() const {
  MutexLock lock(mutex_);
  return upstream_;
}

// Whether training that stands at `from_step` comes to it soon enough to be waited for. A slice above (the
// Pull is its own) also waits for one that was set back, by a kill to its checkpoint, further than the lead:
// ours has to make up for those steps anyway, and a teacher that runs beside it would hold it back, so that
// the distance would stay to the end. Not when less than the distance is left to be asked for.
bool RelayState::IsNear(const Key& key, bool is_own, int64_t from_step, int64_t lead_steps) const {
  const int64_t step = static_cast<int64_t>(key.step), distance = step - from_step;
  if (distance < 0) return false;
  const StagePlan* const plan = run_->PlanOf(key.stage);
  return distance < lead_steps || (is_own && plan != nullptr && distance < plan->steps - step);
}

bool RelayState::TrainingComesTo(const Key& key, bool is_own, int64_t now_ms) const {
  if (loading_ && loading_->run_id == run_->run_id && loading_->stage == key.stage) {
    return key.boundary == loading_->output_boundary &&
           IsNear(key, is_own, loading_->first_step, kLeadOfLoading);
  }
  if (!slice_ || slice_->stage != key.stage || slice_->run_id != run_->run_id) return false;
  if (!IsWanted() || key.boundary != output_boundary_) return false;
  if (!IsNear(key, is_own, step_, slice_->limits.lead_steps)) return false;
  return is_in_step_ || now_ms - left_step_ms_ < kTrainingAwayMs;
}

RelayState::Found RelayState::Find(const v1::PullRequest& request, int64_t now_ms) {
  const v1::BatchRef& batch = request.batch();
  MutexLock lock(mutex_);
  const bool is_this_run = run_ != nullptr && run_->run_id == batch.run_id() &&
                           run_->identity_sha256 == request.identity_sha256() &&
                           run_->teacher_sha256 == request.teacher_sha256();
  Found found;
  found.changes = changes_;
  if (!is_this_run) {
    if (loading_ && loading_->run_id == batch.run_id()) found.finding = Finding::kLoading;
    return found;
  }
  found.run = run_;
  if (request.has_low_step()) {
    const bool rises = !pulled_ || pulled_->stage != batch.stage() || pulled_->low_step < request.low_step();
    pulled_ = {batch.stage(), request.low_step()};
    if (rises) {
      DropPassed(*pulled_);
      TellChange();
    }
  }
  const Key key = {batch.stage(), batch.step(), batch.micro_batch(), batch.boundary()};
  if (const auto at_hand = buffer_.find(key); at_hand != buffer_.end()) {
    found.finding = Finding::kAtHand;
    found.hidden_BTE = at_hand->second;
  } else {
    const bool comes = TrainingComesTo(key, request.has_low_step(), now_ms);
    found.finding = comes ? Finding::kTrainingComes : Finding::kTeacher;
  }
  found.changes = changes_;
  return found;
}

void RelayState::AwaitChange(uint64_t changes, int64_t wait_ms) {
  const int64_t until_ms = RelayNowMs() + wait_ms;
  MutexLock lock(mutex_);
  for (int64_t now_ms = RelayNowMs(); changes_ == changes && now_ms < until_ms; now_ms = RelayNowMs()) {
    changed_.wait_for(mutex_, milliseconds(until_ms - now_ms));
  }
}

}  // namespace retort
