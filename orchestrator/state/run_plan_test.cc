#include "orchestrator/state/run_plan.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "orchestrator/state/costs.h"
#include "orchestrator/state/testing_cluster.h"

namespace retort::orchestrator {
namespace {

using testing::Contains;
using testing::HasSubstr;

class RunPlan : public testing::Test {
 protected:
  absl::StatusOr<v1::PlanReply> PlanOfJob(const v1::JobSpec& job, uint32_t layers = 6) {
    v1::PlanRequest request;
    *request.mutable_job()->mutable_job() = job;
    *request.mutable_job()->mutable_shape() = ShapeOf(layers);
    return MakePlan(cluster_.now, cluster_.state, cluster_.options, request);
  }
  absl::StatusOr<v1::PlanReply> PlanOfRun(uint64_t run_id) {
    v1::PlanRequest request;
    request.mutable_run()->set_id(run_id);
    return MakePlan(cluster_.now, cluster_.state, cluster_.options, request);
  }

  TestCluster cluster_;
};

TEST_F(RunPlan, AssumesAWorkerWhenThereIsNone) {
  const auto plan = PlanOfJob(SixLayerJob());
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->stages_size(), 3);
  EXPECT_EQ(plan->stages(0).stage(), v1::STAGE_MATRIX_ORIENTATION);
  EXPECT_EQ(plan->stages(0).steps(), 40);
  ASSERT_EQ(plan->stages(0).slices_size(), 1);
  const v1::PlannedSlice& slice = plan->stages(0).slices(0);
  EXPECT_EQ(slice.worker_name(), "");
  EXPECT_EQ(slice.layer_count(), 6);
  EXPECT_EQ(slice.teacher_passes(), 1);
  EXPECT_EQ(slice.hop_bytes_per_step().value(), 0);
  EXPECT_EQ(slice.seconds_per_step().basis(), v1::BASIS_ASSUMED);
  EXPECT_DOUBLE_EQ(plan->stages(0).seconds().value(), 40 * slice.seconds_per_step().value());
  EXPECT_THAT(plan->reasons(), Contains("input is recomputed: one slice runs 1.00 of the teacher a step"));
  EXPECT_EQ(plan->stages(1).steps(), 60);
  EXPECT_EQ(plan->stages(2).steps(), 10);
  EXPECT_GE(plan->seconds().value(), plan->stages(0).seconds().value() + plan->stages(1).seconds().value());
}

TEST_F(RunPlan, CutsOverTheRegisteredWorkersAndSaysWhatTheInputCosts) {
  cluster_.Register("a");
  cluster_.Register("b");
  const auto plan = PlanOfJob(SixLayerJob());
  ASSERT_EQ(plan->stages(0).slices_size(), 2);
  EXPECT_EQ(plan->stages(0).slices(0).first_layer(), 0);
  EXPECT_EQ(plan->stages(0).slices(1).first_layer(), 4);
  EXPECT_DOUBLE_EQ(plan->stages(0).slices(0).teacher_passes(), 4.0 / 6);
  // 512 tokens of width 256 in float32.
  EXPECT_THAT(
      plan->reasons(),
      Contains("input is recomputed, because not every worker serves activations: 2 slices run 1.67 teacher "
               "passes a step together; a relay would run 1 and send 0.5 MB a step over each boundary"));
}

TEST_F(RunPlan, SaysForEachBoundaryWhetherItIsPulledOrRecomputedAndWhy) {
  cluster_.workers_serve = true;
  cluster_.options.hop_seconds = 1e-5;
  cluster_.Register("a");
  cluster_.Register("b");
  const auto plan = PlanOfJob(SixLayerJob());
  ASSERT_EQ(plan->stages(0).slices_size(), 2);
  const v1::PlannedSlice &lower = plan->stages(0).slices(0), &upper = plan->stages(0).slices(1);
  EXPECT_EQ(lower.input(), v1::INPUT_SOURCE_RECOMPUTE);
  EXPECT_EQ(upper.input(), v1::INPUT_SOURCE_RELAY);
  EXPECT_EQ(upper.hop_bytes_per_step().value(), 512 * 256 * 4);
  EXPECT_DOUBLE_EQ(lower.teacher_passes() + upper.teacher_passes(), 1);
  EXPECT_THAT(
      plan->reasons(),
      Contains(HasSubstr("layers 3 to 5 pull their input: a step's hop of 0.5 MB takes 0.0035 s (assumed), "
                         "teacher blocks 0 to 2 ")));
  EXPECT_THAT(plan->reasons(), Contains("2 slices run 1.00 teacher passes a step together; if all recomputed "
                                        "their input it would be 1.50"));
  cluster_.options.hop_seconds = 10;
  EXPECT_THAT(PlanOfJob(SixLayerJob())->reasons(),
              Contains(HasSubstr(" recompute their input: a step's hop")));
}

TEST_F(RunPlan, SaysThatMoreWorkersThanLayersCannotBeBusy) {
  for (int i = 0; i < 8; ++i) cluster_.Register("w" + std::to_string(i));
  EXPECT_THAT(
      PlanOfJob(SixLayerJob())->reasons(),
      Contains(
          "more workers than converted layers times runs cannot be busy in stages 1 and 2: this run has 6 "
          "layers, 8 workers are registered"));
}

TEST_F(RunPlan, CountsOfASharedTeacherThePartThatIsTheWorkers) {
  for (const char* name : {"a", "b"}) {
    v1::RegisterRequest request = TestCluster::RegistrationOf(name);
    request.mutable_capabilities()->set_host("one");
    request.mutable_capabilities()->set_host_memory_bytes(uint64_t{32} << 30);  // 8 GiB of them are its
    request.mutable_capabilities()->set_shared_weights("/weights");
    cluster_.Do(DecideRegister(cluster_.now, cluster_.state, cluster_.options, request));
  }
  const auto plan = PlanOfJob(SixLayerJob());
  const v1::PlannedSlice& lower = plan->stages(0).slices(0);
  EXPECT_EQ(lower.layer_count(), 4u);
  EXPECT_EQ(lower.memory_bytes().value(), SliceBytes(SixLayerJob(), ShapeOf(6), 3, 4) -
                                              TeacherBytes(SixLayerJob(), ShapeOf(6), 3) +
                                              0.25 * TeacherBytes(SixLayerJob(), ShapeOf(6), 5));
}

TEST_F(RunPlan, SaysWhatDoesNotFit) {
  cluster_.Register("a", 100, /*memory_bytes=*/240 << 20);
  const auto plan = PlanOfJob(SixLayerJob(), /*layers=*/24);
  EXPECT_THAT(plan->reasons(),
              Contains(HasSubstr("does not fit: layer 23 needs 0.3 GiB on one worker, the largest "
                                 "offers 0.2 GiB")));
  EXPECT_THAT(plan->reasons(), Contains(HasSubstr("does not fit: end_to_end needs 0.")));
  EXPECT_FALSE(plan->has_seconds());
}

TEST_F(RunPlan, UsesWhatThisRunMeasuredAndThenWhatOneLikeItDid) {
  cluster_.Register("a");
  const uint64_t run_id = cluster_.SubmitPrepared(SixLayerJob(), "a");
  const v1::Slice slice = cluster_.TakeSlice("a");
  cluster_.Heartbeat("a", 10, /*train_seconds=*/0.2, /*teacher_seconds=*/0.05);
  cluster_.Publish("a", slice.token(), TestCluster::LayersOf(slice), 10);
  const auto of_run = PlanOfRun(run_id);
  ASSERT_TRUE(of_run.ok()) << of_run.status();
  EXPECT_EQ(of_run->stages(0).steps(), 30);
  const v1::Figure& step = of_run->stages(0).slices(0).seconds_per_step();
  EXPECT_DOUBLE_EQ(step.value(), 6 * 0.2 + 6 * 0.05);
  EXPECT_EQ(step.basis(), v1::BASIS_MEASURED);
  EXPECT_EQ(step.measured_run_id(), run_id);
  EXPECT_EQ(of_run->stages(1).slices(0).seconds_per_step().basis(), v1::BASIS_ASSUMED);

  v1::JobSpec like_it = SixLayerJob("another");
  like_it.mutable_data()->set_seed(8);
  const v1::Figure again = PlanOfJob(like_it)->stages(0).slices(0).seconds_per_step();
  EXPECT_DOUBLE_EQ(again.value(), 1.5);
  EXPECT_EQ(again.measured_run_id(), run_id);

  v1::JobSpec other = SixLayerJob("other");
  other.mutable_student()->set_state_size(128);
  EXPECT_EQ(PlanOfJob(other)->stages(0).slices(0).seconds_per_step().basis(), v1::BASIS_ASSUMED);
}

TEST_F(RunPlan, ChoosesByTheHopThatWasMeasuredOnceOneWas) {
  cluster_.workers_serve = true;
  for (const char* name : {"a", "b"}) cluster_.Register(name);
  const uint64_t run_id = cluster_.SubmitPrepared(SixLayerJob(), "a");
  v1::Slice a = cluster_.TakeSlice("a"), b = cluster_.TakeSlice("b");
  const std::string upper = a.layers(0).layer() == 0 ? "b" : "a";
  const v1::Slice& slice = upper == "a" ? a : b;
  EXPECT_THAT(PlanOfRun(run_id)->reasons(), Contains(HasSubstr("0.5 MB takes 0.0045 s (assumed)")));
  cluster_.received_bytes = uint64_t{10} * 512 * 256 * 4;  // of ten steps
  cluster_.receive_seconds = 20;
  cluster_.Heartbeat(upper, 10, /*train_seconds=*/0.2, /*teacher_seconds=*/0.05);
  cluster_.Publish(upper, slice.token(), TestCluster::LayersOf(slice), 10);
  const auto plan = PlanOfRun(run_id);
  EXPECT_THAT(
      plan->reasons(),
      Contains("layers 3 to 5 recompute their input: a step's hop of 0.5 MB takes 2 s (measured), teacher "
               "blocks 0 to 2 0.15 s (measured)"));
  // By its bytes also in the stage that has not begun, and in a run like this one.
  EXPECT_EQ(plan->stages(1).slices(1).input(), v1::INPUT_SOURCE_RECOMPUTE);
  EXPECT_THAT(PlanOfJob(SixLayerJob("another"))->reasons(), Contains(HasSubstr("takes 2 s (measured)")));
}

TEST_F(RunPlan, AHopIsNoShorterForHavingBeenASlowWorkersLayers) {
  cluster_.workers_serve = true;
  for (const char* name : {"a", "b"}) cluster_.Register(name, 400);
  const uint64_t run_id = cluster_.SubmitPrepared(SixLayerJob(), "a");
  const v1::Slice a = cluster_.TakeSlice("a"), b = cluster_.TakeSlice("b");
  const bool a_is_lower = a.layers(0).layer() == 0;
  const std::string upper = a_is_lower ? "b" : "a";
  const v1::Slice& slice = a_is_lower ? b : a;
  cluster_.received_bytes = uint64_t{512} * 256 * 4;  // of one step
  cluster_.receive_seconds = 0.5;
  cluster_.Heartbeat(upper, 10, /*train_seconds=*/0.2, /*teacher_seconds=*/0.05);
  cluster_.Publish(upper, slice.token(), TestCluster::LayersOf(slice), 10);
  for (const char* name : {"a", "b"}) cluster_.Leave(name);

  cluster_.Register("slow", 50);
  cluster_.Advance(2'000);
  cluster_.Replan();
  const v1::Slice all = cluster_.TakeSlice("slow");
  ASSERT_EQ(all.layers_size(), 6);
  cluster_.received_bytes = 0;
  cluster_.Heartbeat("slow", 20, /*train_seconds=*/1.6, /*teacher_seconds=*/0.4);
  cluster_.Publish("slow", all.token(), TestCluster::LayersOf(all), 20);
  cluster_.Leave("slow");

  for (const char* name : {"c", "d"}) cluster_.Register(name, 400);
  EXPECT_THAT(PlanOfRun(run_id)->reasons(),
              Contains(HasSubstr(" recompute their input: a step's hop of 0.5 MB takes 0.5 s (measured)")));
}

TEST_F(RunPlan, NeedsAPreparedRunThatHasNotEnded) {
  const uint64_t run_id = cluster_.Submit(SixLayerJob());
  EXPECT_EQ(PlanOfRun(run_id).status(),
            absl::FailedPreconditionError(
                "six (run 1) is not prepared: no worker has read its teacher yet; plan its job file"));
  EXPECT_EQ(PlanOfRun(7).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace retort::orchestrator
