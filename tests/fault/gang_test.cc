// Stage 3 on two workers, disturbed: a rank killed, stopped or told to go, and the orchestrator restarted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "tests/system/cluster_fixture.h"

namespace retort {
namespace {

// Long enough that a disturbance falls into stage 3.
constexpr ClusterJob kGang{.orientation_steps = 10,
                           .alignment_steps = 20,
                           .interval_steps = 50,
                           .end_to_end_steps = 600,
                           .world_size = 2};
constexpr ClusterJob kElastic{.orientation_steps = 10,
                              .alignment_steps = 20,
                              .interval_steps = 50,
                              .end_to_end_steps = 600,
                              .world_size = 2,
                              .elastic = true};

// The steps of stage 3 in the order in which metrics.jsonl has them, and their losses.
std::vector<std::pair<uint64_t, double>> StepsOf(const Files& files) {
  std::vector<std::pair<uint64_t, double>> steps;
  std::istringstream lines(files.at("metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json json = nlohmann::json::parse(line);
    if (json["stage"] == "end_to_end") steps.emplace_back(json["step"], json["loss"]);
  }
  return steps;
}

void ExpectEveryStepOnce(const Files& files) {
  const auto steps = StepsOf(files);
  ASSERT_EQ(steps.size(), 600u);
  for (size_t i = 0; i < steps.size(); ++i) EXPECT_EQ(steps[i].first, i + 1);
}

class GangFault : public ClusterTest {
 protected:
  void Begin(const ClusterJob& job, const std::vector<std::string>& workers) {
    StartWorkers(cluster_, workers);
    run_id_ = cluster_.Submit(job.Spec());
    history_.emplace(cluster_.address(), run_id_);
  }

  // Waits until stage 3 has published between its first and its last step, and returns who has the rank.
  std::string AwaitStageThree(uint32_t rank, uint64_t at_least = 1) {
    const bool is_there = Eventually(kDeadlineSeconds, [&] {
      for (const v1::Event& event : history_->OfKind(v1::EVENT_KIND_CHECKPOINT_PUBLISHED)) {
        if (event.stage() == v1::STAGE_END_TO_END && event.steps(0) >= at_least) return true;
      }
      return history_->HasEnded(0);
    });
    EXPECT_TRUE(is_there && !history_->HasEnded(0)) << history_->Render();
    return HolderOf(rank);
  }

  std::string HolderOf(uint32_t rank) {
    std::string holder;
    for (const v1::Event& event : history_->OfKind(v1::EVENT_KIND_LEASE_GRANTED)) {
      if (event.stage() == v1::STAGE_END_TO_END && event.layers(0) == rank) holder = event.worker_name();
    }
    return holder;
  }

  // Whether a rank was lost between the first step and the last.
  size_t Losses(v1::EndCause cause) {
    size_t losses = 0;
    for (const v1::Event& event : history_->OfKind(v1::EVENT_KIND_LEASE_ENDED)) {
      losses += event.stage() == v1::STAGE_END_TO_END && event.cause() == cause;
    }
    return losses;
  }

  Files Result() { return ResultOf(cluster_, *history_, run_id_); }

  Cluster cluster_{RETORT_BIN_DIR};
  uint64_t run_id_ = 0;
  std::optional<RunHistory> history_;
};

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

TEST_F(GangFault, AnElasticGangShrinksAndGrowsAndCountsEveryStepOnce) {
  Begin(kElastic, {"a", "b"});
  const std::string victim = AwaitStageThree(1);
  ASSERT_NE(victim, "");
  EXPECT_EQ(cluster_.EndWorker(victim, SIGKILL).signal, SIGKILL);
  cluster_.StartWorker(victim, TinyJobDirectory());
  const Files files = Result();
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
