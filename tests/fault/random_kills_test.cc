// Any process killed again and again, and what such tests compare with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <random>

#include "core/base/clock.h"
#include "core/base/files.h"
#include "model/io/safetensors.h"
#include "tests/system/cluster_fixture.h"
#include "train/data/testing_dataset.h"

namespace retort {
namespace {

constexpr ClusterJob kLongJob{.orientation_steps = 60, .alignment_steps = 1500, .interval_steps = 20};

// RETORT_FAULT_SEED, else drawn.
uint64_t Seed() {
  const char* text = std::getenv("RETORT_FAULT_SEED");
  return text == nullptr ? std::random_device()() : std::strtoull(text, nullptr, 10);
}

SafetensorsFile Weights(const std::string& name, const Files& files) {
  const std::filesystem::path file = TestPath(name);
  EXPECT_TRUE(WriteFileAtomically(file, files.at("student/model.safetensors")).ok());
  return SafetensorsFile::Open(file).value();
}

TEST_F(ClusterTest, EveryMixerWeightDependsOnTheStepsOfStagesOneAndTwo) {
  const SafetensorsFile barely =
      Weights("barely", Undisturbed({.orientation_steps = 1, .alignment_steps = 1}));
  for (const ClusterJob& job : {ClusterJob(), kLongJob}) {
    const SafetensorsFile trained = Weights("trained", Undisturbed(job));
    int mixers = 0;
    for (const std::string& name : trained.names()) {
      if (name.find(".mamba.") == std::string::npos) continue;
      ++mixers;
      EXPECT_FALSE(trained.Read(name)->equal(*barely.Read(name))) << name;
    }
    EXPECT_GE(mixers, 3 * 5);  // three layers' projections, convolution, A, D and dt
  }
}

class RandomKills : public ClusterTest, public testing::WithParamInterface<const char*> {};

INSTANTIATE_TEST_SUITE_P(Relay, RandomKills, testing::Values("never", "always"),
                         [](const auto& policy) { return std::string(policy.param); });

TEST_P(RandomKills, ChangeNoByte) {
  const uint64_t seed = Seed();
  std::cout << "RETORT_FAULT_SEED=" << seed << std::endl;
  std::mt19937_64 random(seed);
  const std::vector<std::string> names = {"a", "b", "c"};
  Cluster cluster(RETORT_BIN_DIR, {}, {"--relay", GetParam()});
  StartWorkers(cluster, names);
  const uint64_t run_id = cluster.Submit(kLongJob.Spec());
  const RunHistory history(cluster.address(), run_id);
  std::vector<int64_t> kills_ms;
  while (!history.HasEnded(std::uniform_real_distribution<>(0.5, 1.5)(random))) {
    const size_t victim = std::uniform_int_distribution<size_t>(0, names.size())(random);
    kills_ms.push_back(UnixMilliseconds());
    if (victim == names.size()) {
      EXPECT_EQ(cluster.EndOrchestrator(SIGKILL).signal, SIGKILL);
      cluster.StartOrchestrator();
    } else {
      EXPECT_EQ(cluster.EndWorker(names[victim], SIGKILL).signal, SIGKILL);
      cluster.StartWorker(names[victim], TinyJobDirectory());
    }
  }
  ExpectTheUndisturbedStudent(ResultOf(cluster, history, run_id), kLongJob);
  const auto landed = std::count_if(kills_ms.begin(), kills_ms.end(), [&](int64_t kill_ms) {
    return FallsIntoTraining(history, kill_ms, kLongJob);
  });
  const size_t losses = EndedMidTraining(history, "", v1::END_CAUSE_INFRASTRUCTURE, kLongJob).size();
  std::cout << kills_ms.size() << " kills, " << landed << " of them in training; " << losses
            << " leases lost in training" << std::endl;
  EXPECT_GE(landed, 4) << history.Render();
  EXPECT_GE(losses, 1u) << history.Render();
}

}  // namespace
}  // namespace retort
