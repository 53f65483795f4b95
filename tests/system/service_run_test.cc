// The verbs of the service on a run that a real worker carries out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "absl/strings/match.h"
#include "tests/support/cluster.h"
#include "tests/system/tiny_run.h"
#include "train/data/testing_dataset.h"

namespace retort {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class ServiceRun : public testing::Test {
 protected:
  ServiceRun() { cluster_.StartWorker("alpha", TinyJobDirectory()); }

  ProgramEnd Do(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--orchestrator", cluster_.address()});
    return RunRetort(arguments);
  }

  Cluster cluster_{RETORT_BIN_DIR};
};

TEST_F(ServiceRun, IsSubmittedWaitedForShownAndDownloaded) {
  const ProgramEnd submitted = Do({"submit", TinyJobDirectory() / "job.yaml", "--wait"});
  ASSERT_EQ(submitted.exit_code, 0) << submitted.err;
  EXPECT_THAT(submitted.err,
              AllOf(HasSubstr("lease granted: matrix_orientation layers 0,2-3 to alpha from step 0"),
                    HasSubstr("run state changed to succeeded")));
  EXPECT_THAT(Do({"get", "tiny", "-o", "wide"}).out,
              AllOf(StartsWith("tiny (id 1): succeeded\n"), HasSubstr("completed")));
  EXPECT_EQ(Do({"watch", "tiny"}).exit_code, 0);
  EXPECT_TRUE(Eventually(kDeadlineSeconds, [this] {
    return absl::StrContains(Do({"logs", "tiny", "--worker", "alpha"}).out, "worker=alpha");
  }));

  const std::filesystem::path out = TestPath("out");
  const ProgramEnd downloaded = Do({"download", "tiny", "--out", out});
  ASSERT_EQ(downloaded.exit_code, 0) << downloaded.err;
  EXPECT_EQ(downloaded.out, "run tiny is in " + out.string() + ", 6 files\n");
  EXPECT_TRUE(std::filesystem::exists(out / "report.html"));
  EXPECT_TRUE(StudentWeights(out) == StudentWeights(UndisturbedRun()));
  EXPECT_EQ(Metrics(out).size(), Metrics(UndisturbedRun()).size());
  EXPECT_EQ(Do({"download", "tiny", "--out", out}).exit_code, 0) << "again";
}

TEST_F(ServiceRun, ThatFailsGivesItsMessageAndIsRetried) {
  const std::filesystem::path job = TestPath("job.yaml");
  const std::string bad = WriteDocuments("bad", {{3, 512, 3}});
  WriteChangedJob(job, {{"corpus/train.bin", bad}});
  const ProgramEnd end = Do({"submit", job, "--wait", "-o", "json"});
  EXPECT_EQ(end.exit_code, 10);
  const json error = json::parse(end.err)["error"];
  EXPECT_EQ(error["exit_code"], 10);
  EXPECT_THAT(error["message"].get<std::string>(), HasSubstr("retort retry 1"));
  EXPECT_THAT(Do({"get", "1"}).out, HasSubstr(bad + ": token 1, in document 0, is 512"));
  WriteDocuments("bad", {std::vector<int32_t>(200, 3)});
  const ProgramEnd retried = Do({"retry", "1", "--wait"});
  EXPECT_EQ(retried.exit_code, 0) << retried.err;
  EXPECT_EQ(retried.out, "run 1 goes on with 1 task; 'retort watch 1' shows it\ntiny (id 1): succeeded\n");
}

TEST_F(ServiceRun, IsLeftByAWorkerThatIsDrained) {
  ASSERT_TRUE(Eventually(kDeadlineSeconds, [&] { return cluster_.registered_workers() == 1; }));
  const ProgramEnd drained = Do({"workers", "drain", "alpha", "--wait"});
  EXPECT_EQ(drained.exit_code, 0) << drained.err;
  EXPECT_EQ(drained.out, "worker alpha is told to save and leave\n");
  EXPECT_EQ(cluster_.worker("alpha").Wait(kDeadlineSeconds).exit_code, 0);
  EXPECT_EQ(Do({"workers", "-o", "json"}).out, "{\n \"workers\": []\n}\n");
}

}  // namespace
}  // namespace retort
