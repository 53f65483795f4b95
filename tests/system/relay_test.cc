// Real processes on loopback: slices that pull their input from each other, and slices that recompute it,
// make the student of one worker, and run the teacher as often as they say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <regex>

#include "tests/system/cluster_fixture.h"

namespace retort {
namespace {

// Of the tiny job.
constexpr uint64_t kMicroBatches = 2, kBlocks = 4;
constexpr uint64_t kBoundaryBytes = 2 * 64 * 64 * sizeof(float);  // of a micro-batch

constexpr ClusterJob kJob{.orientation_steps = 60, .alignment_steps = 300, .interval_steps = 50};

// What a worker says in its log at the end of each lease, as of the last one.
struct Counts {
  uint64_t trained_blocks = 0, served_blocks = 0, received = 0, received_bytes = 0, recomputed = 0, sent = 0,
           sent_bytes = 0;

  void Add(const std::string& log) {
    static const std::regex kLine(
        "teacher blocks run: (\\d+) in training, (\\d+) for others; micro-batches: (\\d+) received "
        "\\((\\d+) bytes\\), (\\d+) recomputed, (\\d+) sent \\((\\d+) bytes\\)");
    std::smatch last;
    for (std::sregex_iterator it(log.begin(), log.end(), kLine), end; it != end; ++it) last = *it;
    if (last.empty()) return;  // it had no slice
    uint64_t* const sums[] = {&trained_blocks, &served_blocks, &received,  &received_bytes,
                              &recomputed,     &sent,          &sent_bytes};
    for (size_t i = 0; i < std::size(sums); ++i) *sums[i] += std::stoull(last[i + 1]);
  }
};

class RelayTest : public ClusterTest {
 protected:
  // The job on three workers; their counts together.
  Counts Train(const std::string& policy) {
    const std::vector<std::string> names = {"a", "b", "c"};
    Cluster cluster(RETORT_BIN_DIR, {}, {"--relay", policy});
    StartWorkers(cluster, names);
    const uint64_t run_id = cluster.Submit(kJob.Spec());
    const RunHistory history(cluster.address(), run_id);
    ExpectTheUndisturbedStudent(ResultOf(cluster, history, run_id), kJob);
    grants_ = history.OfKind(v1::EVENT_KIND_LEASE_GRANTED);
    Counts counts;
    for (const std::string& name : names) counts.Add(cluster.EndWorker(name, SIGTERM).err);
    return counts;
  }

  // Of stages 1 and 2.
  std::vector<v1::Event> SliceGrants() const {
    std::vector<v1::Event> grants;
    for (const v1::Event& grant : grants_) {
      if (kJob.StepsOf(grant.stage()) > 0) grants.push_back(grant);
    }
    return grants;
  }

  static constexpr uint64_t kPasses = (kJob.orientation_steps + kJob.alignment_steps) * kMicroBatches;
  std::vector<v1::Event> grants_;
};

TEST_F(RelayTest, RunsTheTeacherOnceForThreeWorkersAndMakesTheStudentOfOne) {
  const Counts counts = Train("always");
  EXPECT_EQ(counts.trained_blocks + counts.served_blocks, kPasses * kBlocks);
  EXPECT_EQ(counts.recomputed, 0u);
  EXPECT_EQ(counts.received, counts.sent);
  EXPECT_EQ(counts.received_bytes, counts.received * kBoundaryBytes);
  EXPECT_GE(SliceGrants().size(), 4u) << "at least two slices a stage";
  EXPECT_EQ(counts.received, kPasses * (SliceGrants().size() / 2 - 1)) << "each boundary once";
}

TEST_F(RelayTest, WithoutItEachSliceRunsTheTeacherFromTheEmbeddingUp) {
  const Counts counts = Train("never");
  uint64_t most = 0;  // where no slice is cut anew
  for (const v1::Event& grant : SliceGrants()) {
    const uint64_t steps = kJob.StepsOf(grant.stage()) - grant.steps(0);
    most += steps * kMicroBatches * (grant.layers(grant.layers_size() - 1) + 1);
  }
  EXPECT_GT(SliceGrants().size(), 2u);
  EXPECT_LE(counts.trained_blocks, most);
  EXPECT_GT(counts.trained_blocks, kPasses * kBlocks);
  EXPECT_EQ(counts.served_blocks + counts.received + counts.sent, 0u);
}

}  // namespace
}  // namespace retort
