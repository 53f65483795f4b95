#include "orchestrator/state/gang.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "orchestrator/state/costs.h"
#include "orchestrator/state/testing_gang.h"

namespace retort::orchestrator {
namespace {

using testing::HasSubstr;

TEST_F(GangTest, EachRankIsALeaseOfItsOwnFromWhereTheStageStands) {
  Submit(Job(2), {"a", "b"});
  TakeRanks({"a", "b"});
  ASSERT_EQ(slice_.size(), 2u);
  for (const auto& [rank, slice] : slice_) {
    EXPECT_EQ(slice.stage(), v1::STAGE_END_TO_END);
    EXPECT_EQ(slice.layers(0).layer(), rank);
    EXPECT_EQ(slice.layers(0).total_steps(), 10u);
    EXPECT_EQ(slice.gang().world_size(), 2u);
    EXPECT_FALSE(slice.gang().elastic());
    EXPECT_EQ(slice.gang().timeout_ms(), 10'000u);
  }
  EXPECT_NE(slice_[0].token(), slice_[1].token());
  EXPECT_EQ(cluster_.state.run(run_id_).record.world_size(), 2u);
}

TEST_F(GangTest, AutoTakesAsManyAsFitAndKeepsTheNumber) {
  cluster_.Register("small", 100, uint64_t{100} << 20);
  Submit(Job(0), {"a", "b"});
  TakeRanks({"a", "b", "small"});
  EXPECT_EQ(slice_.size(), 2u);
  EXPECT_EQ(cluster_.state.run(run_id_).record.world_size(), 2u);
  EXPECT_THAT(cluster_.EventsOf(v1::EVENT_KIND_NUMERICS_RESOLVED).back().text(),
              HasSubstr("end_to_end has 2 ranks, as many as fit: end_to_end on 2 ranks: "));
  EXPECT_THAT(Reason(),
              HasSubstr("2 of 3 workers can be ranks together, 2 could be one alone: each of 3 would need "
                        "0.2 GiB, and a step has 4 sequences"));
  cluster_.Register("late");
  cluster_.Replan();
  EXPECT_EQ(cluster_.TakeSlice("late").token(), 0u);
}

TEST_F(GangTest, AutoBeginsWithFewerRanksWhenAWorkerGoesBeforeItsGrant) {
  Submit(Job(0), {"a", "b"});
  slice_[0] = cluster_.TakeSlice("a");
  ASSERT_EQ(slice_[0].gang().world_size(), 2u);
  name_[0] = "a";
  cluster_.Leave("b");
  cluster_.Replan();
  EXPECT_THAT(Reason(),
              HasSubstr("waits for 1 more, as it has 2 ranks; no step was taken, so in 20 s it begins "
                        "with 1 rank unless another worker comes"));
  cluster_.Heartbeat("a");
  cluster_.Advance(cluster_.options.gang_patience_ms - 1);
  cluster_.Heartbeat("a");
  cluster_.Sweep();
  EXPECT_EQ(Join(0).generation(), 0u);
  EXPECT_EQ(NextDueSteadyMs(cluster_.now, cluster_.state, cluster_.options), cluster_.now.steady_ms + 1);
  cluster_.Advance(1);
  EXPECT_THAT(cluster_.Sweep(), HasSubstr("gang (run 1): end_to_end has 1 rank instead of 2"));
  EXPECT_EQ(cluster_.state.run(run_id_).record.world_size(), 1u);
  EXPECT_EQ(cluster_.state.FindTask(run_id_, {v1::STAGE_END_TO_END, 1}), nullptr);
  EXPECT_THAT(
      cluster_.EventsOf(v1::EVENT_KIND_NUMERICS_RESOLVED).back().text(),
      HasSubstr("end_to_end has 1 rank instead of 2: it has taken no step, and no more workers fit since "
                "20 s"));
  EXPECT_EQ(Join(0).world_size(), 1u);
  cluster_.Register("late");
  cluster_.Replan();
  EXPECT_EQ(cluster_.TakeSlice("late").token(), 0u);
}

TEST_F(GangTest, ANumberOfRanksHasToFitForAllOfThePatience) {
  Submit(Job(0), {"a", "b", "c"});
  TakeRanks({"a", "b", "c"});
  ASSERT_EQ(slice_.size(), 3u);
  const auto pass_ms = [&](int64_t ms) {
    cluster_.Advance(ms);
    for (const auto& [rank, name] : name_) {
      if (slice_.contains(rank)) cluster_.Heartbeat(name);
    }
    cluster_.Sweep();
  };
  cluster_.Leave(name_[2]);
  slice_.erase(2);
  cluster_.Replan();
  pass_ms(cluster_.options.gang_patience_ms - 5'000);
  cluster_.Leave(name_[1]);
  slice_.erase(1);
  cluster_.Replan();
  pass_ms(5'000);
  EXPECT_EQ(cluster_.state.run(run_id_).record.world_size(), 3u) << "one worker alone is new";
  pass_ms(cluster_.options.gang_patience_ms - 5'000);
  EXPECT_EQ(cluster_.state.run(run_id_).record.world_size(), 1u);
}

TEST_F(GangTest, FewerRanksMustFitWhoHoldsOne) {
  const double three = EndToEndBytes(Job(0), ShapeOf(6), 3), two = EndToEndBytes(Job(0), ShapeOf(6), 2);
  ASSERT_LT(three, two);
  Submit(Job(0), {"a", "b", "c"});
  TakeRanks({"a", "b", "c"});
  ASSERT_EQ(slice_.size(), 3u);
  cluster_.Leave(name_[0]);
  cluster_.Register("small", 100, static_cast<uint64_t>((three + two) / 2));
  cluster_.Advance(2'000);
  TakeRanks({"small"});
  ASSERT_EQ(name_[0], "small");
  cluster_.Leave(name_[1]);
  cluster_.Replan();
  EXPECT_THAT(Reason(), testing::EndsWith("waits for 1 more, as it has 3 ranks"));
  cluster_.Advance(cluster_.options.gang_patience_ms);
  for (const std::string& name : {name_[2], name_[0]}) cluster_.Heartbeat(name);
  cluster_.Sweep();
  EXPECT_EQ(cluster_.state.run(run_id_).record.world_size(), 3u);
}

TEST_F(GangTest, TheNumberOfRanksStaysOnceAStepWasTaken) { ExpectTwoRanksStayWithout(1); }

TEST_F(GangTest, TheNumberOfRanksStaysWhereRankZeroIsLostBeforeItPublished) { ExpectTwoRanksStayWithout(0); }

TEST_F(GangTest, ARankOfTheOldNumberNeitherJoinsNorWrites) {
  Submit(Job(0), {"a", "b"});
  TakeRanks({"a", "b"});
  const std::string gone = name_[1];
  const uint64_t token = slice_[1].token();
  Join(1);
  const uint64_t first = Join(0).generation();
  for (int i = 0; i < 25; ++i) {  // silent past its lease and the patience
    cluster_.Advance(2'000);
    cluster_.Heartbeat(name_[0]);
    cluster_.Sweep();
    if (cluster_.state.placement_stale) cluster_.Replan();
  }
  ASSERT_EQ(cluster_.state.run(run_id_).record.world_size(), 1u);
  cluster_.Register(gone);
  EXPECT_TRUE(absl::IsAborted(cluster_.JoinGang(gone, token, first).status));
  EXPECT_TRUE(absl::IsAborted(cluster_.TryPublish(gone, token, {1}, 1)));
  v1::RendezvousRequest request;
  cluster_.Name(gone, request);
  request.set_token(token);
  request.set_generation(first);
  uint64_t run_id = 0;
  EXPECT_TRUE(absl::IsAborted(CheckMember(cluster_.state, request, run_id)));
  const v1::JoinGangReply alone = Join(0, first);
  EXPECT_GT(alone.generation(), first);
  EXPECT_EQ(alone.world_size(), 1u);
}

TEST_F(GangTest, ARankAboveTheNewNumberTakesALowerOne) {
  Submit(Job(0), {"a", "b", "c"});
  TakeRanks({"a", "b", "c"});
  ASSERT_EQ(slice_.size(), 3u);
  const std::string mover = name_[2];
  cluster_.Leave(name_[1]);
  cluster_.Replan();
  cluster_.Advance(cluster_.options.gang_patience_ms);
  for (const char* name : {"a", "b", "c"}) cluster_.Heartbeat(name);
  cluster_.Sweep();
  EXPECT_EQ(cluster_.state.run(run_id_).record.world_size(), 3u) << "rank 2 is held";
  const v1::LeaseVerdict told = cluster_.Heartbeat(mover).reply.verdict();
  ASSERT_EQ(told.action(), v1::LEASE_ACTION_YIELD);
  cluster_.Release(mover, slice_[2].token(), {2}, told.cause());
  cluster_.Replan();
  cluster_.Sweep();
  EXPECT_EQ(cluster_.state.run(run_id_).record.world_size(), 2u);
  slice_.erase(1);
  TakeRanks({mover});
  ASSERT_TRUE(slice_.contains(1));
  Join(1);
  EXPECT_EQ(Join(0).world_size(), 2u);
}

TEST_F(GangTest, WorkersOfOneHostShareItsMemory) {
  const double bytes = EndToEndBytes(Job(0), ShapeOf(6), 2);
  for (const auto& [name, host] :
       std::map<std::string, std::string>{{"a", "one"}, {"b", "one"}, {"c", "two"}}) {
    v1::RegisterRequest request = TestCluster::RegistrationOf(name);
    request.mutable_capabilities()->set_host(host);
    request.mutable_capabilities()->set_memory_bytes(static_cast<uint64_t>(bytes * 1.2));
    ASSERT_TRUE(
        cluster_.Do(DecideRegister(cluster_.now, cluster_.state, cluster_.options, request)).status.ok());
  }
  run_id_ = cluster_.SubmitPrepared(Job(0), "a");
  TakeRanks({"a", "b", "c"});
  EXPECT_EQ(slice_.size(), 2u) << Reason();
  EXPECT_TRUE(name_[0] == "c" || name_[1] == "c") << Reason();
}

TEST_F(GangTest, ASharedTeacherIsInAMachinesMemoryOnce) {
  const double bytes = EndToEndBytes(Job(2), ShapeOf(6), 2), own = EndToEndBytes(Job(2), ShapeOf(6), 2, 0);
  const auto machine_bytes = static_cast<uint64_t>(bytes + own) + 4;
  const auto add = [&](const char* name, const char* weights, const char* host) {
    v1::RegisterRequest request = TestCluster::RegistrationOf(name);
    v1::Capabilities& has = *request.mutable_capabilities();
    has.set_host(host);
    has.set_host_memory_bytes(machine_bytes);
    has.set_memory_bytes(machine_bytes / 2);
    has.set_shared_weights(weights);
    ASSERT_TRUE(
        cluster_.Do(DecideRegister(cluster_.now, cluster_.state, cluster_.options, request)).status.ok());
  };
  add("a", "", "one");
  add("b", "", "one");
  run_id_ = cluster_.SubmitPrepared(Job(2), "a");
  TakeRanks({"a", "b"});
  EXPECT_THAT(Reason(), HasSubstr("2 have less than the"));
  add("c", "/weights", "two");
  add("d", "/weights", "two");
  TakeRanks({"c", "d"});
  EXPECT_EQ(slice_.size(), 2u) << Reason();
}

TEST_F(GangTest, AutoTakesNoMoreRanksThanAStepHasSequences) {
  Submit(Job(0), {"a", "b", "c", "d", "e"});
  TakeRanks({"a", "b", "c", "d", "e"});
  EXPECT_EQ(slice_.size(), 4u);
}

TEST_F(GangTest, MoreRanksThanSequencesAreTheJobsFault) {
  Submit(Job(5), {"a"});
  EXPECT_EQ(cluster_.RunStateOf(run_id_), v1::RUN_STATE_FAILED);
  EXPECT_THAT(cluster_.state.run(run_id_).record.reason(),
              HasSubstr("world_size is 5, and a step has 4 sequences"));
}

TEST_F(GangTest, WaitsForTheWorkersThatItNeedsAndSaysHowMany) {
  Submit(Job(3), {"a", "b"});
  TakeRanks({"a", "b"});
  EXPECT_TRUE(slice_.empty());
  EXPECT_THAT(Reason(), HasSubstr("end_to_end waits for 1 more worker: its 3 ranks train together, and 2 of "
                                  "2 workers can be ranks together"));
  cluster_.Register("c");
  TakeRanks({"a", "b", "c"});
  EXPECT_EQ(slice_.size(), 3u);
}

TEST_F(GangTest, TwoGangsDoNotWaitForEachOthersHalf) {
  for (const char* name : {"a", "b", "c"}) cluster_.Register(name);
  const uint64_t first = cluster_.SubmitPrepared(Job(2, false, "first"), "a");
  cluster_.SubmitPrepared(Job(2, false, "second"), "b");
  TakeRanks({"a", "b", "c"});
  std::map<uint64_t, int> ranks;
  for (const auto& [token, lease] : cluster_.state.leases) ++ranks[lease.record.run_id()];
  EXPECT_EQ(ranks, (std::map<uint64_t, int>{{first, 2}}));
}

TEST_F(GangTest, FormsWhenAllRanksWait) {
  Submit(Job(2), {"a", "b"});
  TakeRanks({"a", "b"});
  const v1::JoinGangReply alone = Join(1);
  EXPECT_EQ(alone.generation(), 0u);
  EXPECT_THAT(alone.reason(), HasSubstr("waits for rank 0 (" + name_[0] + ") of 2 ranks"));
  const v1::JoinGangReply both = Join(0);
  EXPECT_GT(both.generation(), 0u);
  EXPECT_EQ(both.rank(), 0u);
  EXPECT_EQ(both.world_size(), 2u);
  const v1::JoinGangReply other = Join(1);
  EXPECT_EQ(other.generation(), both.generation());
  EXPECT_EQ(other.rank(), 1u);
  EXPECT_EQ(Join(0).generation(), both.generation()) << "a repetition";
}

TEST_F(GangTest, GenerationsGrowAlsoAcrossARestart) {
  Submit(Job(2), {"a", "b"});
  TakeRanks({"a", "b"});
  Join(1);
  const uint64_t first = Join(0).generation();
  EXPECT_EQ(Join(1, first).generation(), 0u);
  const uint64_t second = Join(0, first).generation();
  EXPECT_EQ(second, first + 1);
  cluster_.Restart();
  for (const char* name : {"a", "b"}) cluster_.Register(name);
  EXPECT_EQ(Join(1, second).generation(), 0u);
  EXPECT_GT(Join(0, second).generation(), second);
}

TEST_F(GangTest, WithoutElasticALostRankIsWaitedFor) {
  Submit(Job(2), {"a", "b"});
  TakeRanks({"a", "b"});
  Join(1);
  const uint64_t first = Join(0).generation();
  LoseRank(1);
  EXPECT_EQ(Join(0, first).generation(), 0u);
  EXPECT_THAT(Join(0, first).reason(), HasSubstr("waits for rank 1 (nobody holds it) of 2 ranks"));
  cluster_.Replan();
  EXPECT_THAT(Reason(), HasSubstr("waits for 1 more, as it has 2 ranks"));
  cluster_.Register("c");
  cluster_.Leave(name_[1]);
  cluster_.Advance(2'000);
  cluster_.Replan();
  TakeRanks({"c"});
  ASSERT_TRUE(slice_.contains(1));
  const v1::JoinGangReply formed = Join(1);
  EXPECT_GT(formed.generation(), first);
  EXPECT_EQ(Join(0, first).generation(), formed.generation());
}

TEST_F(GangTest, RankZerosLastPublishEndsTheOthers) {
  Submit(Job(2), {"a", "b"});
  TakeRanks({"a", "b"});
  EXPECT_EQ(cluster_.TryPublish(name_[1], slice_[1].token(), {1}, 0).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(cluster_.TryComplete(name_[1], slice_[1].token(), {1}).code(),
            absl::StatusCode::kFailedPrecondition);
  cluster_.Publish(name_[0], slice_[0].token(), {0}, 9);
  EXPECT_EQ(RankRow(1).state(), v1::TASK_STATE_LEASED);
  cluster_.Publish(name_[0], slice_[0].token(), {0}, 10);
  EXPECT_EQ(RankRow(1).state(), v1::TASK_STATE_DONE);

  v1::HeartbeatRequest heartbeat;
  cluster_.Name(name_[1], heartbeat);
  heartbeat.mutable_progress()->set_token(slice_[1].token());
  heartbeat.mutable_progress()->set_phase(v1::SLICE_PHASE_TRAINING);
  heartbeat.mutable_progress()->add_layers()->set_layer(1);
  const auto told =
      cluster_.Do(DecideHeartbeat(cluster_.now, cluster_.state, cluster_.options, heartbeat)).reply;
  EXPECT_EQ(told.verdict().action(), v1::LEASE_ACTION_STOP);
  EXPECT_EQ(told.verdict().cause(), v1::END_CAUSE_COMPLETED);

  cluster_.Publish(name_[0], slice_[0].token(), {0}, 10, 1, v1::PUBLISH_KIND_RESULT);
  cluster_.Complete(name_[0], slice_[0].token(), {0});
  EXPECT_EQ(cluster_.RunStateOf(run_id_), v1::RUN_STATE_SUCCEEDED);
}

TEST_F(GangTest, AStepsWorkIsThatOfTheRanksThatTookIt) {
  Submit(Job(3, true), {"a", "b"});
  TakeRanks({"a", "b"});
  Join(1);
  Join(0);
  cluster_.Heartbeat(name_[0], 3, 5.0);
  cluster_.Publish(name_[0], slice_[0].token(), {0}, 3);
  EXPECT_EQ(RankRow(0).train_seconds_per_step(), 10.0);
}

TEST_F(GangTest, ACollectiveMayLastAsLongAsFourSteps) {
  Submit(Job(2), {"a", "b"});
  TakeRanks({"a", "b"});
  EXPECT_EQ(slice_[1].gang().timeout_ms(), 10'000u);
  Join(1);
  Join(0);
  cluster_.Heartbeat(name_[0], 3, 5.0);
  cluster_.Publish(name_[0], slice_[0].token(), {0}, 3);
  LoseRank(1);
  cluster_.Advance(2'000);
  cluster_.Replan();
  TakeRanks({name_[1]});
  ASSERT_TRUE(slice_.contains(1));
  EXPECT_EQ(slice_[1].gang().timeout_ms(), 20'000u);
}

TEST_F(GangTest, AReplacementStartsFromRankZerosCheckpoint) {
  Submit(Job(2), {"a", "b"});
  TakeRanks({"a", "b"});
  cluster_.Publish(name_[0], slice_[0].token(), {0}, 6);
  LoseRank(1);
  cluster_.Advance(2'000);
  cluster_.Replan();
  TakeRanks({name_[1]});
  ASSERT_TRUE(slice_.contains(1));
  EXPECT_EQ(slice_[1].layers(0).next_step(), 6u);
  EXPECT_EQ(slice_[1].layers(0).checkpoint().layer(), 0u);
  EXPECT_EQ(slice_[1].layers(0).checkpoint().publish(), 1u);
}

TEST_F(GangTest, OnlyMembersOfTheLastGenerationMeet) {
  Submit(Job(2), {"a", "b"});
  TakeRanks({"a", "b"});
  Join(1);
  const uint64_t first = Join(0).generation();
  v1::RendezvousRequest request;
  cluster_.Name(name_[1], request);
  request.set_token(slice_[1].token());
  request.set_generation(first);
  uint64_t run_id = 0;
  EXPECT_EQ(CheckMember(cluster_.state, request, run_id), absl::OkStatus());
  EXPECT_EQ(run_id, run_id_);
  request.set_generation(first + 1);
  EXPECT_TRUE(absl::IsFailedPrecondition(CheckMember(cluster_.state, request, run_id)));
  request.set_generation(first);
  LoseRank(1);
  EXPECT_TRUE(absl::IsAborted(CheckMember(cluster_.state, request, run_id)));
  EXPECT_TRUE(absl::IsAborted(cluster_.JoinGang(name_[1], request.token()).status));
}

}  // namespace
}  // namespace retort::orchestrator
