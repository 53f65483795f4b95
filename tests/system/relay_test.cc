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

// What a worker says in its log at its end.
struct Counts {
  uint64_t trained_blocks = 0, served_blocks = 0, received = 0, received_bytes = 0, recomputed = 0, sent = 0,
           sent_bytes = 0;

  void Add(const std::string& log) {
    static const std::regex kLine(
        "teacher blocks run: (\\d+) in training, (\\d+) for others; micro-batches: (\\d+) received "
        "\\((\\d+) bytes\\), (\\d+) recomputed, (\\d+) sent \\((\\d+) bytes\\)");
    std::smatch last;
    for (std::sregex_iterator it(log.begin(), log.end(), kLine), end; it != end; ++it) last = *it;
    ASSERT_FALSE(last.empty()) << log;
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
    Counts counts;
    for (const std::string& name : names) counts.Add(cluster.EndWorker(name, SIGTERM).err);
    return counts;
  }

  static constexpr uint64_t kPasses = (kJob.orientation_steps + kJob.alignment_steps) * kMicroBatches;
};

TEST_F(RelayTest, RunsTheTeacherOnceForThreeWorkersAndMakesTheStudentOfOne) {
  const Counts counts = Train("always");
  // A slice that is asked before its lease is there makes a batch or two for others.
  EXPECT_GE(counts.trained_blocks, kPasses * kBlocks);
  EXPECT_LE(counts.trained_blocks + counts.served_blocks, kPasses * kBlocks * 21 / 20);
  EXPECT_EQ(counts.recomputed, 0u);
  EXPECT_EQ(counts.received, counts.sent);
  EXPECT_EQ(counts.received_bytes, counts.received * kBoundaryBytes);
  EXPECT_GE(counts.received, kPasses) << "at least two slices a stage";
}

TEST_F(RelayTest, WithoutItEachSliceRunsTheTeacherFromTheEmbeddingUp) {
  const Counts counts = Train("never");
  EXPECT_GT(counts.trained_blocks, kPasses * kBlocks);
  EXPECT_EQ(counts.served_blocks + counts.received + counts.sent, 0u);
}

}  // namespace
}  // namespace retort
