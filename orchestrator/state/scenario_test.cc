// One run on three workers of unequal speed, of which one comes late and another is killed, told by the event
// log alone.
#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "orchestrator/state/testing_cluster.h"

namespace retort::orchestrator {
namespace {

constexpr uint64_t kEverySteps = 10;  // SixLayerJob's checkpoint interval

// A worker that keeps to the protocol, at `speed` layer-steps a second; a teacher block costs a tenth of
// that.
class ScriptedWorker {
 public:
  ScriptedWorker(TestCluster& cluster, std::string name, double speed)
      : cluster_(cluster), name_(std::move(name)), speed_(speed) {
    cluster_.Register(name_, 100 * speed_);
  }

  // What it does in one second.
  void Act() {
    if (!slice_) {
      const v1::LeaseReply reply = cluster_.Lease(name_).reply;
      if (!reply.has_slice()) {
        cluster_.Heartbeat(name_);
        return;
      }
      slice_ = reply.slice();
      steps_.clear();
      for (const v1::SliceLayer& layer : slice_->layers()) steps_[layer.layer()] = layer.next_step();
    }
    Obey(Report());
    if (!slice_) return;
    if (slice_->stage() == v1::STAGE_PREPARE) {
      const v1::PreparedRun prepared = Prepared(slice_->job(), 6);
      cluster_.Complete(name_, slice_->token(), {0}, &prepared);
      slice_.reset();
      return;
    }
    seconds_ += 1;
    while (slice_ && seconds_ >= StepSeconds()) {
      seconds_ -= StepSeconds();
      TakeStep();
    }
  }

  const std::map<uint32_t, uint64_t>& steps() const { return steps_; }
  const std::optional<v1::Slice>& slice() const { return slice_; }

 private:
  double StepSeconds() const {
    return (static_cast<double>(steps_.size()) + 0.1 * (steps_.rbegin()->first + 1)) / speed_;
  }

  v1::LeaseVerdict Report() {
    v1::HeartbeatRequest request;
    cluster_.Name(name_, request);
    request.mutable_progress()->set_token(slice_->token());
    request.mutable_progress()->set_phase(v1::SLICE_PHASE_TRAINING);
    request.mutable_progress()->set_teacher_seconds_per_step(0.1 / speed_);
    for (const auto& [layer, step] : steps_) {
      v1::LayerProgress& reported = *request.mutable_progress()->add_layers();
      reported.set_layer(layer);
      reported.set_step(step);
      reported.set_train_seconds_per_step(1 / speed_);
    }
    return cluster_.Do(DecideHeartbeat(cluster_.now, cluster_.state, cluster_.options, request))
        .reply.verdict();
  }

  void Obey(const v1::LeaseVerdict& verdict) {
    ASSERT_NE(verdict.action(), v1::LEASE_ACTION_STOP) << verdict.reason();
    if (verdict.action() != v1::LEASE_ACTION_YIELD) return;
    const std::vector<uint32_t> layers(verdict.layers().begin(), verdict.layers().end());
    for (const uint32_t layer : layers) {
      cluster_.Publish(name_, slice_->token(), {layer}, steps_[layer]);
    }
    cluster_.Release(name_, slice_->token(), layers, verdict.cause());
    Forget(layers);
  }

  void Forget(const std::vector<uint32_t>& layers) {
    for (const uint32_t layer : layers) steps_.erase(layer);
    if (steps_.empty()) slice_.reset();
  }

  void TakeStep() {
    const uint64_t total = slice_->layers(0).total_steps();
    uint64_t slowest = total;
    for (const auto& [layer, step] : steps_) slowest = std::min(slowest, step);
    std::vector<uint32_t> layers;
    for (auto& [layer, step] : steps_) {
      if (step == slowest) ++step;
      layers.push_back(layer);
    }
    ++slowest;
    if (slowest % kEverySteps != 0 && slowest != total) return;
    for (const uint32_t layer : layers) {
      cluster_.Publish(name_, slice_->token(), {layer}, steps_[layer]);
    }
    if (slowest != total) return;
    if (slice_->stage() == v1::STAGE_END_TO_END) {
      cluster_.Publish(name_, slice_->token(), {0}, total, 1, v1::PUBLISH_KIND_RESULT);
    }
    cluster_.Complete(name_, slice_->token(), layers);
    Forget(layers);
  }

  TestCluster& cluster_;
  std::string name_;
  double speed_;
  double seconds_ = 0;
  std::optional<v1::Slice> slice_;
  std::map<uint32_t, uint64_t> steps_;
};

class Scenario : public testing::Test {
 protected:
  Scenario() : run_id_(cluster_.Submit(SixLayerJob())) {}

  bool HasEnded() const { return IsEnded(cluster_.RunStateOf(run_id_)); }

  void Second(const std::vector<ScriptedWorker*>& workers) {
    cluster_.Advance(1'000);
    cluster_.Sweep();
    if (NextReplanSteadyMs(cluster_.now, cluster_.state, cluster_.options) <= cluster_.now.steady_ms) {
      cluster_.Do(DecideReplan(cluster_.now, cluster_.state, cluster_.options));
    }
    for (ScriptedWorker* worker : workers) worker->Act();
  }

  TestCluster cluster_;
  uint64_t run_id_;
};

// (stage, layer) of the events' rows.
std::set<TaskId> RowsOf(const std::vector<v1::EventRecord>& events) {
  std::set<TaskId> rows;
  for (const v1::EventRecord& event : events) {
    for (const uint32_t layer : event.layers()) rows.insert({event.stage(), layer});
  }
  return rows;
}

// Whether at some moment a row of stage 2 was leased while one of stage 1 was.
bool StagesOverlap(const std::vector<v1::EventRecord>& events) {
  std::set<TaskId> leased;
  for (const v1::EventRecord& event : events) {
    for (const uint32_t layer : event.layers()) {
      if (event.kind() == v1::EVENT_KIND_LEASE_GRANTED) leased.insert({event.stage(), layer});
      if (event.kind() == v1::EVENT_KIND_LEASE_ENDED) leased.erase({event.stage(), layer});
    }
    const auto any_in = [&](v1::Stage stage) {
      return std::any_of(leased.begin(), leased.end(), [&](TaskId id) { return id.stage == stage; });
    };
    if (any_in(v1::STAGE_MATRIX_ORIENTATION) && any_in(v1::STAGE_HIDDEN_STATE_ALIGNMENT)) return true;
  }
  return false;
}

TEST_F(Scenario, ThreeWorkersOfUnequalSpeedOneLateOneKilled) {
  ScriptedWorker a(cluster_, "a", 1.0), b(cluster_, "b", 2.0);
  for (int i = 0; i < 40; ++i) Second({&a, &b});
  ScriptedWorker c(cluster_, "c", 1.5);
  int seconds = 0;
  // b is killed in the middle of an interval, when all three are at work.
  while (!(b.slice() && c.slice() && a.slice() && b.steps().begin()->second % kEverySteps == 5)) {
    Second({&a, &b, &c});
    ASSERT_LT(++seconds, 600) << DebugString(cluster_.state);
  }
  const v1::Stage lost_stage = b.slice()->stage();
  const std::map<uint32_t, uint64_t> lost_steps = b.steps();
  const size_t before_loss = cluster_.events.size();
  while (!HasEnded()) {
    Second({&a, &c});
    ASSERT_LT(++seconds, 3'000) << DebugString(cluster_.state);
  }
  ASSERT_EQ(cluster_.RunStateOf(run_id_), v1::RUN_STATE_SUCCEEDED);

  // A re-cut for the late worker: asked, obeyed, and granted to it.
  std::vector<v1::EventRecord> recuts;
  for (const v1::EventRecord& event : cluster_.EventsOf(v1::EVENT_KIND_LEASE_YIELD_ASKED)) {
    if (event.cause() == v1::END_CAUSE_RECUT) recuts.push_back(event);
  }
  EXPECT_FALSE(recuts.empty());
  std::string plans;
  for (const v1::EventRecord& event : cluster_.EventsOf(v1::EVENT_KIND_PLAN_CHANGED))
    plans += event.text() + "\n";
  EXPECT_THAT(plans, testing::HasSubstr("cut anew over 3 workers"));

  EXPECT_TRUE(StagesOverlap(cluster_.events));

  // The retry: the lost slice's rows and no others, each from its last checkpoint, less than one interval
  // back.
  std::set<TaskId> lost_rows;
  for (const auto& [layer, step] : lost_steps) lost_rows.insert({lost_stage, layer});
  EXPECT_EQ(RowsOf(cluster_.EventsOf(v1::EVENT_KIND_TASK_RETRIED)), lost_rows);
  std::map<TaskId, uint64_t> next_step;  // of every row: where the log says that it goes on
  for (size_t i = 0; i < cluster_.events.size(); ++i) {
    const v1::EventRecord& event = cluster_.events[i];
    for (int l = 0; l < event.layers_size(); ++l) {
      const TaskId row = {event.stage(), event.layers(l)};
      if (event.kind() == v1::EVENT_KIND_LEASE_ENDED) next_step[row] = event.steps(l);
      if (event.kind() != v1::EVENT_KIND_LEASE_GRANTED) continue;
      EXPECT_EQ(event.steps(l), next_step[row]) << "stage " << row.stage << " layer " << row.layer;
      if (i < before_loss || lost_rows.count(row) == 0) continue;
      EXPECT_LT(lost_steps.at(row.layer) - event.steps(l), kEverySteps);
      lost_rows.erase(row);
    }
  }
  EXPECT_TRUE(lost_rows.empty());  // each was granted again
}

}  // namespace
}  // namespace retort::orchestrator
