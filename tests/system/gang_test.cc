// Stage 3 on several workers, undisturbed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tests/system/cluster_fixture.h"

namespace retort {
namespace {

constexpr ClusterJob kAlone{.orientation_steps = 10, .alignment_steps = 20, .end_to_end_steps = 40};
constexpr ClusterJob kGang{
    .orientation_steps = 10, .alignment_steps = 20, .end_to_end_steps = 40, .world_size = 2};

// The losses of stage 3, step by step.
std::vector<double> Losses(const Files& files) {
  std::vector<double> losses;
  std::istringstream lines(files.at("metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json json = nlohmann::json::parse(line);
    if (json["stage"] == "end_to_end") losses.push_back(json["loss"]);
  }
  return losses;
}

TEST_F(ClusterTest, TwoRanksTakeTheStepsThatOneWouldToWithinRounding) {
  const std::vector<double> one = Losses(Undisturbed(kAlone)), two = Losses(Undisturbed(kGang));
  ASSERT_EQ(one.size(), 40u);
  ASSERT_EQ(two.size(), 40u);
  // Sums in another order: 1e-7 of each, grown over the steps.
  for (size_t step = 0; step < one.size(); ++step)
    EXPECT_NEAR(two[step], one[step], 2e-3 * one[step]) << step;
}

TEST_F(ClusterTest, TwoRanksComeToTheSameBytesAgain) {
  Cluster cluster(RETORT_BIN_DIR);
  StartWorkers(cluster, {"a", "b"});
  const uint64_t run_id = cluster.Submit(kGang.Spec());
  const RunHistory history(cluster.address(), run_id);
  ExpectTheUndisturbedStudent(ResultOf(cluster, history, run_id), kGang);
  std::set<std::string> holders;
  for (const v1::Event& event : history.OfKind(v1::EVENT_KIND_LEASE_GRANTED)) {
    if (event.stage() == v1::STAGE_END_TO_END) holders.insert(event.worker_name());
  }
  EXPECT_THAT(holders, testing::ElementsAre("a", "b")) << history.Render();
}

TEST_F(ClusterTest, AGangWaitsForTheWorkerThatItLacksAndSaysSo) {
  Cluster cluster(RETORT_BIN_DIR);
  StartWorkers(cluster, {"a"});
  const uint64_t run_id = cluster.Submit(kGang.Spec());
  const RunHistory history(cluster.address(), run_id);
  EXPECT_TRUE(Eventually(kDeadlineSeconds, [&] {
    return history.status().summary().reason().find(
               "end_to_end waits for 1 more worker: its 2 ranks train "
               "together, and 1 of 1 worker can be ranks together") != std::string::npos;
  })) << history.status().summary().reason();
  cluster.StartWorker("b", TinyJobDirectory());
  ExpectTheUndisturbedStudent(ResultOf(cluster, history, run_id), kGang);
}

}  // namespace
}  // namespace retort
