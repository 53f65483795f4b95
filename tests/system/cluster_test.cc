// Real processes on loopback: however many workers there are, and whichever process is killed or told to go,
// the student has the same bytes.
#include "tests/support/cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <set>

#include "core/config/job_file.h"
#include "tests/system/tiny_run.h"
#include "train/data/testing_dataset.h"

namespace retort {
namespace {

using Files = std::map<std::string, std::string>;

constexpr uint64_t kAlignmentSteps = 1500;  // of the job below

// The tiny job with a second stage that lasts for seconds, so that a disturbance can fall into it.
v1::JobSpec LongerTinyJob() {
  const std::filesystem::path file = TestPath("job.yaml");
  WriteChangedJob(file, {{"hidden_state_alignment: {tokens: 5120", "hidden_state_alignment: {tokens: 384000"},
                         {"{every: 8 steps}", "{every: 50 steps}"}});
  return LoadJob(file, {TinyJobDirectory()}).value();
}

class ClusterTest : public testing::Test {
 protected:
  void StartWorkers(Cluster& cluster, const std::vector<std::string>& names) {
    for (const std::string& name : names) cluster.StartWorker(name, TinyJobDirectory());
    ASSERT_TRUE(Eventually(kDeadlineSeconds, [&] { return cluster.registered_workers() == names.size(); }));
  }

  // What the run left, once it has succeeded.
  static Files ResultOf(Cluster& cluster, const RunHistory& history, uint64_t run_id) {
    EXPECT_TRUE(history.HasEnded(kDeadlineSeconds)) << history.Render();
    EXPECT_EQ(history.status().summary().state(), v1::RUN_STATE_SUCCEEDED) << history.Render();
    if (history.status().summary().state() != v1::RUN_STATE_SUCCEEDED) return {};
    return cluster.Download(run_id);
  }

  // The files of a run that one worker made without a disturbance; once in a test program.
  const Files& Undisturbed() {
    static const Files files = [this] {
      Cluster cluster(RETORT_BIN_DIR);
      StartWorkers(cluster, {"alone"});
      const uint64_t run_id = cluster.Submit(LongerTinyJob());
      const RunHistory history(cluster.address(), run_id);
      return ResultOf(cluster, history, run_id);
    }();
    return files;
  }

  void ExpectTheUndisturbedStudent(const Files& files) {
    std::set<std::string> names;
    for (const auto& [name, bytes] : files) names.insert(name);
    EXPECT_THAT(names, testing::ElementsAre("metrics.jsonl", "result.json", "student/config.json",
                                            "student/model.safetensors", "student/tokenizer.json"));
    for (const auto& [name, bytes] : files) {
      const bool times = name == "metrics.jsonl" || name == "result.json";
      EXPECT_TRUE(times || bytes == Undisturbed().at(name)) << name;
    }
  }

  // The worker that published the first checkpoint of stage 2, as soon as it has; empty: too late.
  static std::string AwaitStageTwo(const RunHistory& history) {
    std::string worker;
    const auto has_published = [&] {
      for (const v1::Event& event : history.OfKind(v1::EVENT_KIND_CHECKPOINT_PUBLISHED)) {
        if (event.stage() == v1::STAGE_HIDDEN_STATE_ALIGNMENT) worker = event.worker_name();
        if (!worker.empty()) return event.steps(0) < kAlignmentSteps / 2;
      }
      return false;
    };
    EXPECT_TRUE(Eventually(kDeadlineSeconds, [&] { return has_published() || history.HasEnded(0); }));
    EXPECT_FALSE(worker.empty() || history.HasEnded(0)) << history.Render();
    return worker;
  }

  // Whether a lease of `worker` ended for `cause` between the first and the last step of stage 2.
  static bool EndedInStageTwo(const RunHistory& history, const std::string& worker, v1::EndCause cause) {
    for (const v1::Event& event : history.OfKind(v1::EVENT_KIND_LEASE_ENDED)) {
      const bool between = std::any_of(event.steps().begin(), event.steps().end(),
                                       [](uint64_t step) { return step > 0 && step < kAlignmentSteps; });
      if (event.worker_name() == worker && event.cause() == cause && between &&
          event.stage() == v1::STAGE_HIDDEN_STATE_ALIGNMENT) {
        return true;
      }
    }
    return false;
  }
};

TEST_F(ClusterTest, ThreeWorkersMakeTheStudentOfOne) {
  Cluster cluster(RETORT_BIN_DIR);
  StartWorkers(cluster, {"a", "b", "c"});
  const uint64_t run_id = cluster.Submit(LongerTinyJob());
  const RunHistory history(cluster.address(), run_id);
  ExpectTheUndisturbedStudent(ResultOf(cluster, history, run_id));
  std::set<std::string> trained;
  for (const v1::Event& event : history.OfKind(v1::EVENT_KIND_TASK_COMPLETED)) {
    if (event.stage() == v1::STAGE_HIDDEN_STATE_ALIGNMENT) trained.insert(event.worker_name());
  }
  EXPECT_GE(trained.size(), 2u) << history.Render();  // how many of three pay off depends on their speeds
}

TEST_F(ClusterTest, AWorkerKilledInStageTwoChangesNoByte) {
  Cluster cluster(RETORT_BIN_DIR);
  StartWorkers(cluster, {"a", "b"});
  const uint64_t run_id = cluster.Submit(LongerTinyJob());
  const RunHistory history(cluster.address(), run_id);
  const std::string victim = AwaitStageTwo(history);
  ASSERT_NE(victim, "");
  EXPECT_EQ(cluster.EndWorker(victim, SIGKILL).signal, SIGKILL);
  cluster.StartWorker(victim, TinyJobDirectory());  // its name ends the dead one's lease
  ExpectTheUndisturbedStudent(ResultOf(cluster, history, run_id));
  EXPECT_TRUE(EndedInStageTwo(history, victim, v1::END_CAUSE_INFRASTRUCTURE)) << history.Render();
}

TEST_F(ClusterTest, AnOrchestratorKilledInStageTwoChangesNoByte) {
  Cluster cluster(RETORT_BIN_DIR);
  StartWorkers(cluster, {"a", "b"});
  const uint64_t run_id = cluster.Submit(LongerTinyJob());
  const RunHistory history(cluster.address(), run_id);
  ASSERT_NE(AwaitStageTwo(history), "");
  EXPECT_EQ(cluster.EndOrchestrator(SIGKILL).signal, SIGKILL);
  cluster.StartOrchestrator();
  ExpectTheUndisturbedStudent(ResultOf(cluster, history, run_id));
  EXPECT_EQ(history.OfKind(v1::EVENT_KIND_TASK_RETRIED).size(), 0u) << history.Render();
}

TEST_F(ClusterTest, AWorkerToldToGoInStageTwoSavesAndChangesNoByte) {
  Cluster cluster(RETORT_BIN_DIR);
  StartWorkers(cluster, {"a", "b"});
  const uint64_t run_id = cluster.Submit(LongerTinyJob());
  const RunHistory history(cluster.address(), run_id);
  const std::string leaver = AwaitStageTwo(history);
  ASSERT_NE(leaver, "");
  const ProgramEnd end = cluster.EndWorker(leaver, SIGTERM);
  EXPECT_EQ(end.exit_code, 0) << end.err;
  ExpectTheUndisturbedStudent(ResultOf(cluster, history, run_id));
  EXPECT_TRUE(EndedInStageTwo(history, leaver, v1::END_CAUSE_PREEMPTION)) << history.Render();
}

}  // namespace
}  // namespace retort
