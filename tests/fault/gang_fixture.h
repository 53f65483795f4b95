// Stage 3 on several workers, for tests that disturb it.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/system/cluster_fixture.h"

namespace retort {

// Long enough that a disturbance falls into stage 3.
inline constexpr ClusterJob kGang{.orientation_steps = 10,
                                  .alignment_steps = 20,
                                  .interval_steps = 50,
                                  .end_to_end_steps = 600,
                                  .world_size = 2};
// The steps of stage 3 in the order in which metrics.jsonl has them, and their losses.
inline std::vector<std::pair<uint64_t, double>> StepsOf(const Files& files) {
  std::vector<std::pair<uint64_t, double>> steps;
  std::istringstream lines(files.at("metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json json = nlohmann::json::parse(line);
    if (json["stage"] == "end_to_end") steps.emplace_back(json["step"], json["loss"]);
  }
  return steps;
}

inline void ExpectEveryStepOnce(const Files& files) {
  const auto steps = StepsOf(files);
  ASSERT_EQ(steps.size(), 600u);
  for (size_t i = 0; i < steps.size(); ++i) EXPECT_EQ(steps[i].first, i + 1);
}

class GangFault : public ClusterTest {
 protected:
  void Begin(const ClusterJob& job, const std::vector<std::string>& workers) {
    StartWorkers(cluster_, workers);
    Submit(job);
  }

  void Submit(const ClusterJob& job) {
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

  // Of stage 3, the last; 0: none yet.
  uint64_t PublishedStep() {
    uint64_t step = 0;
    for (const v1::Event& event : history_->OfKind(v1::EVENT_KIND_CHECKPOINT_PUBLISHED)) {
      if (event.stage() == v1::STAGE_END_TO_END) step = event.steps(0);
    }
    return step;
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

}  // namespace retort
