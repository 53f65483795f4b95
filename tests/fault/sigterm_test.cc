// A worker that is told to go, with time to save and without.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <regex>

#include "core/base/clock.h"
#include "tests/system/cluster_fixture.h"

namespace retort {
namespace {

// Where the lease after `end` starts each of its layers, in their order.
std::vector<uint64_t> NextStarts(const RunHistory& history, const v1::Event& end) {
  std::vector<uint64_t> starts;
  const auto granted = history.OfKind(v1::EVENT_KIND_LEASE_GRANTED);
  for (const uint32_t layer : end.layers()) {
    for (const v1::Event& event : granted) {
      const auto found = std::find(event.layers().begin(), event.layers().end(), layer);
      if (event.sequence() < end.sequence() || event.stage() != end.stage() || found == event.layers().end())
        continue;
      starts.push_back(event.steps(static_cast<int>(found - event.layers().begin())));
      break;
    }
  }
  return starts;
}

std::vector<uint64_t> Steps(const v1::Event& event) { return {event.steps().begin(), event.steps().end()}; }

// Applied steps of its slowest layer when the worker heard of its end.
uint64_t StepWhenTold(const std::string& log) {
  std::smatch match;
  EXPECT_TRUE(std::regex_search(log, match, std::regex("told to end .* step=([0-9]+)"))) << log;
  return match.empty() ? 0 : std::stoull(match[1]);
}

TEST_F(ClusterTest, AWorkerWithTimeToSaveLosesNoStep) {
  Cluster cluster(RETORT_BIN_DIR);
  StartWorkers(cluster, {"a", "b"});
  const uint64_t run_id = cluster.Submit(ClusterJob().Spec());
  const RunHistory history(cluster.address(), run_id);
  const std::string leaver = StopInStageTwo(cluster, history);
  ASSERT_NE(leaver, "");
  const int64_t told_ms = UnixMilliseconds();
  const ProgramEnd end = cluster.EndWorker(leaver, SIGTERM);
  EXPECT_EQ(end.exit_code, 0) << end.err;
  ExpectTheUndisturbedStudent(ResultOf(cluster, history, run_id));
  const auto ended = EndedMidTraining(history, leaver, v1::END_CAUSE_PREEMPTION);
  ASSERT_EQ(ended.size(), 1u) << history.Render();
  EXPECT_EQ(NextStarts(history, ended[0]), Steps(ended[0])) << history.Render();
  EXPECT_GE(ended[0].steps(0), StepWhenTold(end.err));
  const auto published = history.OfKind(v1::EVENT_KIND_CHECKPOINT_PUBLISHED);
  EXPECT_TRUE(std::any_of(published.begin(), published.end(), [&](const v1::Event& event) {
    return event.token() == ended[0].token() && event.time_unix_ms() >= told_ms &&
           Steps(event) == Steps(ended[0]);
  })) << history.Render();
}

TEST_F(ClusterTest, AWorkerWithoutTimeToSaveGoesAndLosesAtMostAnInterval) {
  Cluster cluster(RETORT_BIN_DIR);
  for (const char* name : {"a", "b"}) cluster.StartWorker(name, TinyJobDirectory(), {"--grace", "1"});
  AwaitWorkers(cluster, 2);
  const uint64_t run_id = cluster.Submit(ClusterJob().Spec());
  const RunHistory history(cluster.address(), run_id);
  const std::string leaver = StopInStageTwo(cluster, history);
  ASSERT_NE(leaver, "");
  cluster.orchestrator().Signal(SIGSTOP);  // so that nothing can be saved
  const auto told = std::chrono::steady_clock::now();
  const ProgramEnd end = cluster.EndWorker(leaver, SIGTERM);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - told;
  cluster.orchestrator().Signal(SIGCONT);
  EXPECT_EQ(end.exit_code, 3) << end.err;
  EXPECT_LT(took.count(), 1 + 2);                   // a busy machine ends a process late
  cluster.StartWorker(leaver, TinyJobDirectory());  // its name ends the gone one's lease
  ExpectTheUndisturbedStudent(ResultOf(cluster, history, run_id));
  const auto ended = EndedMidTraining(history, leaver, v1::END_CAUSE_INFRASTRUCTURE);
  ASSERT_EQ(ended.size(), 1u) << history.Render();
  EXPECT_EQ(NextStarts(history, ended[0]), Steps(ended[0])) << history.Render();
  // An interval, and what it trained while the last publish of one was under way.
  EXPECT_LT(StepWhenTold(end.err) - ended[0].steps(0), 2 * ClusterJob().interval_steps) << history.Render();
}

}  // namespace
}  // namespace retort
