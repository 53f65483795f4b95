// Workers that would compute something else: other bits, or from another teacher.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>

#include "core/base/files.h"
#include "tests/system/cluster_fixture.h"
#include "train/data/testing_dataset.h"

namespace retort {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// The tiny job's files, but for the last bit of one weight of the teacher.
std::filesystem::path RootWithAnotherTeacher() {
  std::filesystem::path root = TestPath("root");
  std::filesystem::copy(TinyJobDirectory(), root, std::filesystem::copy_options::recursive);
  const std::filesystem::path weights = root / "teacher/model.safetensors";
  std::string bytes = ReadFile(weights).value();
  bytes[bytes.size() - 2] ^= 1;  // the low byte of a float16
  std::filesystem::remove(weights);
  EXPECT_TRUE(WriteFileAtomically(weights, bytes).ok());
  return root;
}

TEST_F(ClusterTest, AWorkerOfOtherBitsTrainsNothing) {
  Cluster cluster(RETORT_BIN_DIR);
  cluster.StartWorker("plain", TinyJobDirectory(), {}, {"RETORT_KERNELS=off"});
  for (const char* name : {"a", "b"}) cluster.StartWorker(name, TinyJobDirectory());
  AwaitWorkers(cluster, 3);
  const uint64_t run_id = cluster.Submit(ClusterJob().Spec());
  const RunHistory history(cluster.address(), run_id);
  ExpectTheUndisturbedStudent(ResultOf(cluster, history, run_id));
  for (const v1::Event& event : history.OfKind(v1::EVENT_KIND_LEASE_GRANTED)) {
    EXPECT_TRUE(event.worker_name() != "plain" || event.stage() == v1::STAGE_PREPARE) << history.Render();
  }
}

TEST_F(ClusterTest, AWorkerWithAnotherTeacherIsFoundOutAndTheOthersFinish) {
  Cluster cluster(RETORT_BIN_DIR);
  StartWorkers(cluster, {"a"});
  const uint64_t run_id = cluster.Submit(ClusterJob().Spec());
  const RunHistory history(cluster.address(), run_id);
  ASSERT_EQ(StopInStageTwo(cluster, history), "a");
  EXPECT_EQ(cluster.EndWorker("a", SIGTERM).exit_code, 0);
  cluster.StartWorker("other", RootWithAnotherTeacher());  // is given the layers that were left
  const auto refusals = [&] {
    std::vector<v1::Event> found;
    for (const v1::Event& event : history.OfKind(v1::EVENT_KIND_LEASE_ENDED)) {
      if (event.cause() == v1::END_CAUSE_WRONG_INPUT) found.push_back(event);
    }
    return found;
  };
  ASSERT_TRUE(Eventually(kDeadlineSeconds, [&] { return !refusals().empty(); })) << history.Render();
  cluster.StartWorker("b", TinyJobDirectory());
  ExpectTheUndisturbedStudent(ResultOf(cluster, history, run_id));
  for (const v1::Event& event : refusals()) {
    EXPECT_EQ(event.worker_name(), "other");
    EXPECT_TRUE(IsMidTraining(event)) << history.Render();
    EXPECT_THAT(event.text(), AllOf(HasSubstr("teacher"), HasSubstr("has SHA-256")));
  }
  for (const v1::Event& event : history.OfKind(v1::EVENT_KIND_CHECKPOINT_PUBLISHED)) {
    EXPECT_NE(event.worker_name(), "other");
  }
}

}  // namespace
}  // namespace retort
