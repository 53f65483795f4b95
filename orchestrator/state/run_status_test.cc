#include "orchestrator/state/run_status.h"

#include "gmock/gmock.h"
#include "orchestrator/state/testing_cluster.h"

namespace retort::orchestrator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

v1::RunStatus StatusOf(const TestCluster& cluster, uint64_t run_id) {
  return StatusOf(cluster.now, cluster.state, cluster.options, cluster.state.run(run_id));
}

const v1::TaskStatus& TaskOf(const v1::RunStatus& status, v1::Stage stage, uint32_t layer) {
  for (const v1::TaskStatus& task : status.tasks()) {
    if (task.stage() == stage && task.layer() == layer) return task;
  }
  static const auto& none = *new v1::TaskStatus;
  return none;
}

TEST(RunStatus, OfARunThatWaitsSaysWhatFor) {
  TestCluster cluster;
  const uint64_t run_id = cluster.Submit(SixLayerJob());
  cluster.Replan();
  const v1::RunSummary summary = StatusOf(cluster, run_id).summary();
  EXPECT_EQ(summary.state(), v1::RUN_STATE_QUEUED);
  EXPECT_THAT(summary.reason(), HasSubstr("worker"));
  EXPECT_EQ(summary.done_fraction(), 0);
  EXPECT_LT(summary.remaining_seconds(), 0);
  EXPECT_EQ(summary.workers(), 0u);
}

TEST(RunStatus, ShowsWhatHoldersReportAndWhatIsPublished) {
  TestCluster cluster;
  cluster.Register("a");
  const uint64_t run_id = cluster.SubmitPrepared(SixLayerJob(), "a");
  const v1::Slice slice = cluster.TakeSlice("a");
  cluster.Publish("a", slice.token(), {0, 1, 2, 3, 4, 5}, 10, 0.5);
  // Six layers of 0.02 s, six teacher blocks of 0.01 s: 5.6 steps a second.
  cluster.Heartbeat("a", 20, 0.02, 0.01);
  const v1::RunStatus status = StatusOf(cluster, run_id);
  EXPECT_EQ(status.summary().state(), v1::RUN_STATE_RUNNING);
  EXPECT_EQ(status.summary().workers(), 1u);
  EXPECT_GT(status.summary().done_fraction(), 0.05);
  EXPECT_LT(status.summary().done_fraction(), 0.4);
  EXPECT_GT(status.summary().remaining_seconds(), 0);
  const v1::TaskStatus& task = TaskOf(status, v1::STAGE_MATRIX_ORIENTATION, 3);
  EXPECT_EQ(task.state(), v1::TASK_STATE_LEASED);
  EXPECT_EQ(task.worker_name(), "a");
  EXPECT_EQ(task.step(), 20u);
  EXPECT_EQ(task.published_step(), 10u);
  EXPECT_EQ(task.total_steps(), 40u);
  EXPECT_NEAR(task.steps_per_second(), 1 / 0.18, 1e-9);
  EXPECT_EQ(TaskOf(status, v1::STAGE_HIDDEN_STATE_ALIGNMENT, 3).worker_name(), "");
}

TEST(RunStatus, TheDoneFractionRisesToOne) {
  TestCluster cluster;
  cluster.Register("a");
  v1::JobSpec job = SixLayerJob();
  job.mutable_evaluation()->set_tokens(100'000);
  const uint64_t run_id = cluster.SubmitPrepared(job, "a");
  double before = -1;
  for (int slices = 0; slices < 2; ++slices) {
    const double done = StatusOf(cluster, run_id).summary().done_fraction();
    EXPECT_GT(done, before);
    before = done;
    cluster.Finish("a", cluster.TakeSlice("a"));
  }
  const v1::Slice last = cluster.TakeSlice("a");
  cluster.Publish("a", last.token(), {0}, 10);
  cluster.Publish("a", last.token(), {0}, 10, 1, v1::PUBLISH_KIND_RESULT);
  EXPECT_LT(StatusOf(cluster, run_id).summary().done_fraction(), 1) << "it is not measured yet";
  cluster.Complete("a", last.token(), {0});
  EXPECT_EQ(StatusOf(cluster, run_id).summary().done_fraction(), 1);
  EXPECT_EQ(StatusOf(cluster, run_id).summary().remaining_seconds(), 0);
}

TEST(ListRuns, GivesPagesNewestFirst) {
  TestCluster cluster;
  for (const char* name : {"a", "b", "c"}) cluster.Submit(SixLayerJob(name));
  v1::ListRequest request;
  request.set_page_size(2);
  const auto names = [](const v1::ListReply& reply) {
    std::vector<std::string> names;
    for (const v1::RunSummary& run : reply.runs()) names.push_back(run.name());
    return names;
  };
  v1::ListReply reply = ListRuns(cluster.now, cluster.state, cluster.options, request);
  EXPECT_THAT(names(reply), ElementsAre("c", "b"));
  request.set_before_run_id(reply.next_before_run_id());
  reply = ListRuns(cluster.now, cluster.state, cluster.options, request);
  EXPECT_THAT(names(reply), ElementsAre("a"));
  EXPECT_EQ(reply.next_before_run_id(), 0u);
  request.add_states(v1::RUN_STATE_FAILED);
  EXPECT_THAT(names(ListRuns(cluster.now, cluster.state, cluster.options, request)), ElementsAre());
}

TEST(ListWorkers, SaysWhatEachDoesAndWhyItIsIdle) {
  TestCluster cluster;
  cluster.Register("b");
  cluster.Register("a");
  cluster.Submit(SixLayerJob());
  const v1::Slice slice =
      cluster.TakeSlice("a").has_job() ? cluster.Lease("a").reply.slice() : cluster.TakeSlice("b");
  cluster.Replan();
  const v1::ListWorkersReply reply = ListWorkers(cluster.now, cluster.state, cluster.options);
  ASSERT_EQ(reply.workers_size(), 2);
  EXPECT_EQ(reply.workers(0).name(), "a");
  const bool a_is_busy = reply.workers(0).token() == slice.token();
  const v1::WorkerStatus& busy = reply.workers(a_is_busy ? 0 : 1);
  const v1::WorkerStatus& idle = reply.workers(a_is_busy ? 1 : 0);
  EXPECT_EQ(busy.state(), v1::WORKER_STATE_BUSY);
  EXPECT_EQ(busy.run_name(), "six");
  EXPECT_THAT(busy.layers(), ElementsAre(0));
  EXPECT_EQ(idle.state(), v1::WORKER_STATE_IDLE);
  EXPECT_THAT(idle.reason(), HasSubstr("1 of 2 workers needed"));
  cluster.Advance(6'001);
  EXPECT_EQ(ListWorkers(cluster.now, cluster.state, cluster.options).workers(0).state(),
            v1::WORKER_STATE_SILENT);
}

}  // namespace
}  // namespace retort::orchestrator
