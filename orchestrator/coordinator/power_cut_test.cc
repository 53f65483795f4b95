// The power is cut at every change of the disk while a run is worked on: what was answered still holds at the
// next start, the records fit together, and the run ends as if nothing had happened.
#include "tests/support/power_cut.h"

#include "gmock/gmock.h"
#include "orchestrator/coordinator/coordinator_fixture.h"

namespace retort::orchestrator {
namespace {

using absl::StatusCode;

// Two layers in each of two stages and end_to_end, each published and completed in calls of its own. A step
// is what a worker has been told is done.
struct Progress {
  uint64_t run_id = 0;
  std::map<TaskId, uint64_t> published;  // steps
  std::set<TaskId> done;
};

absl::Status WorkOn(CoordinatorOnDisk& on, Progress& progress) {
  RETURN_IF_ERROR(on.Register("w1"));
  ASSIGN_OR_RETURN(progress.run_id, on.Submit());
  while (true) {
    ASSIGN_OR_RETURN(const bool is_over, on.coordinator->IsOver(progress.run_id));
    if (is_over) return absl::OkStatus();
    ASSIGN_OR_RETURN(const v1::Slice slice, on.TakeSlice("w1"));
    if (slice.token() == 0) continue;
    if (slice.stage() != v1::STAGE_PREPARE) {
      const uint64_t total = slice.layers(0).total_steps();
      RETURN_IF_ERROR(on.Publish("w1", slice, total, {{"student/w", Noise(100, slice.stage())}}));
      for (const v1::SliceLayer& layer : slice.layers())
        progress.published[{slice.stage(), layer.layer()}] = total;
      if (slice.stage() == v1::STAGE_END_TO_END) {
        RETURN_IF_ERROR(on.Publish("w1", slice, total, CoordinatorOnDisk::Files(), v1::PUBLISH_KIND_RESULT));
      }
    }
    RETURN_IF_ERROR(on.Complete("w1", slice));
    for (const v1::SliceLayer& layer : slice.layers()) progress.done.insert({slice.stage(), layer.layer()});
  }
}

void ExpectKept(const Progress& progress, const State& state) {
  if (progress.run_id == 0) return;
  ASSERT_EQ(state.runs.count(progress.run_id), 1u);
  for (const auto& [id, step] : progress.published) {
    ASSERT_NE(state.FindTask(progress.run_id, id), nullptr);
    EXPECT_GE(state.FindTask(progress.run_id, id)->step(), step) << StageName(id.stage) << " " << id.layer;
  }
  for (const TaskId& id : progress.done) {
    EXPECT_EQ(state.FindTask(progress.run_id, id)->state(), v1::TASK_STATE_DONE);
  }
}

TEST(CoordinatorPowerCut, AtAnyMomentLosesNothingThatWasAnswered) {
  int cuts = 0;
  for (int64_t operations = 1;; ++operations) {
    SCOPED_TRACE(absl::StrCat("power cut at change ", operations, " of the disk"));
    PowerCutDisk disk;
    CoordinatorOnDisk on(disk.env());
    ASSERT_EQ(on.Start(), absl::OkStatus());
    disk.CutAfter(operations);
    Progress progress;
    const absl::Status worked = WorkOn(on, progress);
    const bool was_cut = disk.is_cut();
    EXPECT_TRUE(worked.ok() || was_cut) << worked;
    if (was_cut && !on.coordinator->failure().ok()) {
      EXPECT_EQ(on.Submit("another").status().code(), StatusCode::kUnavailable);
    }
    on.coordinator.reset();
    on.store.reset();
    cuts += was_cut;
    disk.RestorePower();
    ASSERT_EQ(on.Start(), absl::OkStatus());  // with CheckInvariants
    ASSERT_NO_FATAL_FAILURE(ExpectKept(progress, on.coordinator->state()));
    ASSERT_EQ(WorkOn(on, progress), absl::OkStatus());
    EXPECT_EQ(on.coordinator->StatusOfRun(1)->summary().state(), v1::RUN_STATE_SUCCEEDED);
    if (!was_cut) break;
  }
  EXPECT_GT(cuts, 60);
}

TEST(CoordinatorPowerCut, AFailedCommitEndsTheCoordinator) {
  PowerCutDisk disk;
  CoordinatorOnDisk on(disk.env());
  ASSERT_EQ(on.Start(), absl::OkStatus());
  disk.CutAfter(1);
  EXPECT_EQ(on.Submit().status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(on.coordinator->failure().code(), StatusCode::kUnavailable);
  EXPECT_EQ(on.Register("w1").code(), StatusCode::kUnavailable);
  EXPECT_EQ(on.Heartbeat("w1").status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(on.coordinator->List({}).status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(on.coordinator->state().runs.size(), 0u) << "nothing is applied that may not be there";
}

}  // namespace
}  // namespace retort::orchestrator
