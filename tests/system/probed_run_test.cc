// A job that leaves it to a probe which layers stay attention, under the real programs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "core/base/files.h"
#include "tests/support/cluster.h"
#include "tests/system/tiny_run.h"
#include "train/data/testing_dataset.h"

namespace retort {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

std::filesystem::path ProbedJob(const std::string& kept) {
  const std::filesystem::path job = TestPath("job.yaml");
  WriteChangedJob(job, {{"keep_attention: [1]", "keep_attention: " + kept}});
  return job;
}

json KeptLayers(const std::filesystem::path& out) {
  return Result(out)["identity"]["job"]["student"]["keepAttention"]["layers"];
}

TEST(ProbedRun, TrainsWithTheLayersThatItsProbeChose) {
  const std::filesystem::path job = ProbedJob("{auto: 1}"), first = TestPath("first"),
                              second = TestPath("second");
  const ProgramEnd end = RunRetort(RunArguments(job, first));
  ASSERT_EQ(end.exit_code, 0) << end.err;
  EXPECT_THAT(end.err, HasSubstr("probe of layers: matrix_orientation, step 1 of 20"));
  EXPECT_THAT(end.err, HasSubstr("keeps attention in layers "));
  const json kept = KeptLayers(first);
  ASSERT_EQ(kept.size(), 1u);
  const json types = ReadJson(first / "student/config.json")["layer_types"];
  for (size_t l = 0; l < types.size(); ++l) EXPECT_EQ(types[l] == "attention", kept[0] == l) << types;
  EXPECT_EQ(RunRetort(RunArguments(job, first)).exit_code, 0) << "the same job; nothing to do";

  // A second run is killed after its probe, and goes on without another one.
  const std::filesystem::path address = second / "service/address";
  ChildProcess killed(Retort(RunArguments(job, second)));
  ASSERT_TRUE(
      Eventually(kDeadlineSeconds, [&] { return std::filesystem::exists(address) || !killed.running(); }));
  {
    const RunHistory history(ReadFile(address).value(), 1);
    ASSERT_TRUE(Eventually(kDeadlineSeconds,
                           [&] { return !history.OfKind(v1::EVENT_KIND_CHECKPOINT_PUBLISHED).empty(); }));
    killed.Signal(SIGKILL);
  }
  killed.Wait(kDeadlineSeconds);
  const ProgramEnd resumed = RunRetort(RunArguments(job, second));
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, Not(HasSubstr("probe of layers")));
  EXPECT_EQ(KeptLayers(second), kept);
  EXPECT_TRUE(StudentWeights(second) == StudentWeights(first));
}

TEST(ProbedRun, IsCheckedBeforeItsLayersAreKnown) {
  const std::filesystem::path job = ProbedJob("{auto: 1, steps: 2}"), named = TestPath("named.yaml");
  std::vector<std::string> arguments = {"run", job, "--check", "--root", TinyJobDirectory()};
  const ProgramEnd check = RunRetort(arguments);
  ASSERT_EQ(check.exit_code, 0) << check.err;
  EXPECT_THAT(check.out, HasSubstr("at most 2 steps of each of stages 1 and 2, chooses the 1 layers"));
  WriteChangedJob(named, {});
  const auto parameters = [](const std::filesystem::path& file) {
    return json::parse(
        RunRetort({"inspect", file, "--root", TinyJobDirectory(), "-o", "json"}).out)["parameters"];
  };
  EXPECT_EQ(parameters(job), parameters(named));

  const ProgramEnd refused = RunRetort(RunArguments(ProbedJob("{auto: 4}"), TestPath("out")));
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err,
              HasSubstr("student.keep_attention.auto: the teacher has 4 layers, so at most 3 can "
                        "stay attention"));
}

}  // namespace
}  // namespace retort
