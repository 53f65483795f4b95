// Stage 3 on two workers, disturbed: a rank killed, stopped or told to go, and the orchestrator restarted.
#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>

#include "absl/strings/str_cat.h"
#include "tests/fault/gang_fixture.h"

namespace retort {
namespace {

constexpr ClusterJob kElastic{.orientation_steps = 10,
                              .alignment_steps = 20,
                              .interval_steps = 50,
                              .end_to_end_steps = 600,
                              .world_size = 2,
                              .elastic = true};

TEST_F(GangFault, AKilledRanksReplacementGoesOnFromTheSurvivorsStep) {
  for (const uint32_t rank : {1u, 0u}) {
    SCOPED_TRACE(absl::StrCat("rank ", rank));
    if (rank == 1) Begin(kGang, {"a", "b"});
    const std::string victim = AwaitStageThree(rank, rank == 1 ? 50 : 150);
    ASSERT_NE(victim, "");
    EXPECT_EQ(cluster_.EndWorker(victim, SIGKILL).signal, SIGKILL);
    cluster_.StartWorker(victim, TinyJobDirectory());
  }
  const Files files = Result();
  ExpectTheUndisturbedStudent(files, kGang);
  ExpectEveryStepOnce(files);
  EXPECT_EQ(Losses(v1::END_CAUSE_INFRASTRUCTURE), 2u) << history_->Render();
}

TEST_F(GangFault, AFrozenRankIsReplacedByAnotherWorker) {
  Begin(kGang, {"a", "b", "c"});
  const std::string victim = AwaitStageThree(1);
  ASSERT_NE(victim, "");
  cluster_.worker(victim).Signal(SIGSTOP);
  const Files files = Result();
  ExpectTheUndisturbedStudent(files, kGang);
  ExpectEveryStepOnce(files);
  EXPECT_EQ(Losses(v1::END_CAUSE_INFRASTRUCTURE), 1u) << history_->Render();
  EXPECT_NE(HolderOf(1), victim) << history_->Render();
}

TEST_F(GangFault, ARankThatIsToldToGoSavesTheLastAppliedStep) {
  Begin(kGang, {"a", "b"});
  const std::string leaver = AwaitStageThree(0);
  ASSERT_NE(leaver, "");
  const ProgramEnd end = cluster_.EndWorker(leaver, SIGTERM);
  EXPECT_EQ(end.exit_code, 0) << end.err;
  cluster_.StartWorker("late", TinyJobDirectory());
  const Files files = Result();
  ExpectTheUndisturbedStudent(files, kGang);
  ExpectEveryStepOnce(files);
  EXPECT_EQ(Losses(v1::END_CAUSE_PREEMPTION), 1u) << history_->Render();
}

TEST_F(GangFault, TheOrchestratorsRestartDoesNotDisturbTheSteps) {
  Begin(kGang, {"a", "b"});
  ASSERT_NE(AwaitStageThree(0), "");
  EXPECT_EQ(cluster_.EndOrchestrator(SIGKILL).signal, SIGKILL);
  cluster_.StartOrchestrator();
  const std::string victim = AwaitStageThree(1, 200);
  ASSERT_NE(victim, "");
  EXPECT_EQ(cluster_.EndWorker(victim, SIGKILL).signal, SIGKILL);
  cluster_.StartWorker(victim, TinyJobDirectory());
  const Files files = Result();
  ExpectTheUndisturbedStudent(files, kGang);
  ExpectEveryStepOnce(files);
}

TEST_F(GangFault, AWorkerThatGoesBeforeItsGrantIsNotWaitedForForever) {
  StartWorkers(cluster_, {"a", "b"});
  const auto submit = [&](uint32_t world_size) {
    v1::JobSpec job = kGang.Spec();
    job.mutable_stages()->clear_matrix_orientation();
    job.mutable_stages()->clear_hidden_state_alignment();
    job.mutable_stages()->mutable_end_to_end()->set_world_size(world_size);
    run_id_ = cluster_.Submit(job);
    history_.emplace(cluster_.address(), run_id_);
  };
  submit(0);  // auto
  ASSERT_TRUE(
      Eventually(kDeadlineSeconds, [&] { return !history_->OfKind(v1::EVENT_KIND_LEASE_GRANTED).empty(); }));
  const v1::Event prepares = history_->OfKind(v1::EVENT_KIND_LEASE_GRANTED)[0];
  EXPECT_EQ(cluster_.EndWorker(prepares.worker_name() == "a" ? "b" : "a", SIGKILL).signal, SIGKILL);
  const Files files = Result();
  std::vector<std::string> ranks;
  for (const v1::Event& event : history_->OfKind(v1::EVENT_KIND_NUMERICS_RESOLVED)) {
    if (event.stage() == v1::STAGE_END_TO_END) ranks.push_back(event.text());
  }
  ASSERT_EQ(ranks.size(), 2u) << history_->Render();
  EXPECT_THAT(ranks[0], testing::HasSubstr("end_to_end has 2 ranks, as many as fit"));
  EXPECT_THAT(ranks[1], testing::HasSubstr("end_to_end has 1 rank instead of 2: it has taken no step"));
  EXPECT_EQ(HolderOf(1), "") << history_->Render();
  ExpectEveryStepOnce(files);
  EXPECT_EQ(nlohmann::json::parse(files.at("result.json"))["stages"][0]["world_size"], 1);
  submit(1);
  EXPECT_TRUE(files.at("student/model.safetensors") == Result().at("student/model.safetensors"));
}

TEST_F(GangFault, AnElasticGangGoesOnWithItsSurvivorAsRankZero) {
  Begin(kElastic, {"a", "b"});
  const std::string victim = AwaitStageThree(0);
  ASSERT_NE(victim, "");
  const std::string survivor = victim == "a" ? "b" : "a";
  EXPECT_EQ(cluster_.EndWorker(victim, SIGKILL).signal, SIGKILL);
  const Files files = Result();
  EXPECT_EQ(HolderOf(0), survivor) << history_->Render();
  ExpectEveryStepOnce(files);
  EXPECT_NE(cluster_.worker(survivor).err().find("goes on from step "), std::string::npos)
      << cluster_.worker(survivor).err();
}

TEST_F(GangFault, AnElasticGangShrinksAndGrowsAndCountsEveryStepOnce) {
  Begin(kElastic, {"a", "b"});
  const std::string victim = AwaitStageThree(1);
  ASSERT_NE(victim, "");
  EXPECT_EQ(cluster_.EndWorker(victim, SIGKILL).signal, SIGKILL);
  const std::string survivor = victim == "a" ? "b" : "a";
  ASSERT_EQ(HolderOf(0), survivor);
  const auto log = [&] { return cluster_.worker(survivor).err(); };
  // Nobody comes, so its rank is left out once its lease has ended.
  ASSERT_TRUE(Eventually(kDeadlineSeconds, [&] {
    return log().find(": rank 0 of 1, connected") != std::string::npos;
  })) << log();
  const uint64_t shrunk_at = PublishedStep();
  ASSERT_TRUE(Eventually(kDeadlineSeconds, [&] { return PublishedStep() > shrunk_at; }))
      << history_->Render();
  cluster_.StartWorker("late", TinyJobDirectory());
  // The few steps that are left shall not end before another has come.
  EXPECT_TRUE(Eventually(kDeadlineSeconds, [&] {
    cluster_.worker(survivor).Signal(SIGSTOP);
    poll(nullptr, 0, 400);
    cluster_.worker(survivor).Signal(SIGCONT);
    poll(nullptr, 0, 5);
    return cluster_.worker("late").err().find("waits for rank 0") != std::string::npos ||
           history_->HasEnded(0);
  }));
  const Files files = Result();
  EXPECT_NE(log().find(": rank 0 of 2, connected", log().find(": rank 0 of 1, connected")), std::string::npos)
      << log();
  ExpectEveryStepOnce(files);
  const auto steps = StepsOf(files), calm = StepsOf(Undisturbed(kElastic));
  for (size_t i = 0; i < std::min(steps.size(), calm.size()); ++i) {
    // Sums in another order while there was one rank: 1e-7 of each, grown over the steps.
    EXPECT_NEAR(steps[i].second, calm[i].second, 2e-2 * calm[i].second) << i;
  }
  EXPECT_EQ(Losses(v1::END_CAUSE_INFRASTRUCTURE), 1u) << history_->Render();
}

}  // namespace
}  // namespace retort
