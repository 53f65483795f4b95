// For tests of stage 3 on several workers: a cluster with one gang.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "orchestrator/state/testing_cluster.h"

namespace retort::orchestrator {

// A job of stage 3 alone, of four sequences a step; the workers hold nothing yet.
class GangTest : public testing::Test {
 protected:
  static v1::JobSpec Job(uint32_t world_size, bool elastic = false, const std::string& name = "gang") {
    v1::JobSpec job = SixLayerJob(name);
    job.mutable_stages()->clear_matrix_orientation();
    job.mutable_stages()->clear_hidden_state_alignment();
    job.mutable_stages()->mutable_end_to_end()->set_world_size(world_size);
    job.mutable_stages()->mutable_end_to_end()->set_elastic(elastic);
    return job;
  }

  void Submit(const v1::JobSpec& job, const std::vector<std::string>& workers) {
    for (const std::string& name : workers) cluster_.Register(name);
    run_id_ = cluster_.SubmitPrepared(job, workers.front());
  }

  // Every worker's slice, by rank: rank 0 is asked first.
  void TakeRanks(const std::vector<std::string>& workers) {
    for (int round = 0; round < 2; ++round) {
      for (const std::string& name : workers) {
        const v1::Slice slice = cluster_.TakeSlice(name);
        if (slice.layers().empty()) continue;
        name_[slice.layers(0).layer()] = name;
        slice_[slice.layers(0).layer()] = slice;
      }
    }
  }

  v1::JoinGangReply Join(uint32_t rank, uint64_t after_generation = 0) {
    const auto decision = cluster_.JoinGang(name_.at(rank), slice_.at(rank).token(), after_generation);
    EXPECT_EQ(decision.status, absl::OkStatus());
    return decision.reply;
  }

  void LoseRank(uint32_t rank) {
    cluster_.Fail(name_.at(rank), slice_.at(rank).token(), {rank}, v1::END_CAUSE_INFRASTRUCTURE, "no memory");
    slice_.erase(rank);
  }

  void ExpectTwoRanksStayWithout(uint32_t lost) {
    Submit(Job(0), {"a", "b"});
    TakeRanks({"a", "b"});
    Join(1);
    Join(0);
    cluster_.Heartbeat(name_[1 - lost], 1);  // reported, not published
    cluster_.Leave(name_[lost]);
    for (int i = 0; i < 30; ++i) {
      cluster_.Advance(2'000);
      cluster_.Replan();
      cluster_.Heartbeat(name_[1 - lost], 1);
      cluster_.Sweep();
    }
    EXPECT_EQ(cluster_.state.run(run_id_).record.world_size(), 2u);
    EXPECT_THAT(Reason(), testing::EndsWith("waits for 1 more, as it has 2 ranks"));
  }

  const v1::TaskRecord& RankRow(uint32_t rank) { return cluster_.Task(run_id_, v1::STAGE_END_TO_END, rank); }
  const std::string& Reason() { return cluster_.state.placement.run_reason.at(run_id_); }

  TestCluster cluster_;
  uint64_t run_id_ = 0;
  std::map<uint32_t, std::string> name_;
  std::map<uint32_t, v1::Slice> slice_;
};

}  // namespace retort::orchestrator
