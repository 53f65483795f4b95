// The paper's pair: a Phi teacher and the discrete mixer, through all three stages with the real programs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/files.h"
#include "tests/system/tiny_run.h"
#include "train/data/testing_dataset.h"

namespace retort {
namespace {

using nlohmann::json;

TEST(PhiRun, DistilsAPhiTeacherIntoThePapersMixer) {
  const std::filesystem::path teacher = TinyJobDirectory().parent_path() / "teachers/phi";
  const std::filesystem::path job = TestPath("phi.yaml"), out = TestPath("out");
  WriteChangedJob(job, {{"{path: teacher}", "{path: " + teacher.string() + "}"},
                        {"mixer: mamba2", "mixer: discrete_mamba2"},
                        {"  groups: 1\n", ""},
                        {"keep_attention: [1]", "keep_attention: none"},
                        {"init: qkvo", "init: paper"},
                        {"train: mixer", "train: all"}});
  const ProgramEnd end = RunRetort(RunArguments(job, out));
  ASSERT_EQ(end.exit_code, 0) << end.err;
  const json result = Result(out);
  ASSERT_EQ(result["stages"].size(), 3u);
  for (const json& stage : result["stages"]) {
    EXPECT_LT(stage["loss_last"].get<double>(), 0.95 * stage["loss_first"].get<double>()) << stage["name"];
  }
  EXPECT_LT(result["student"]["kl"].get<double>(), 0.8 * result["initial"]["kl"].get<double>());
  const json config = ReadJson(out / "student/config.json");
  EXPECT_EQ(config["base_model_type"], "phi");
  EXPECT_EQ(config["layer_types"], json({"discrete_mamba2", "discrete_mamba2"}));
  EXPECT_EQ(config["discrete_mamba2"]["groups"], 2);

  const ProgramEnd inspect = RunRetort({"inspect", out / "student", "-o", "json"});
  ASSERT_EQ(inspect.exit_code, 0) << inspect.err;
  EXPECT_EQ(json::parse(inspect.out)["layers"][0]["mixer"], "discrete_mamba2");
  const ProgramEnd eval =
      RunRetort({"eval", out / "student", "--data", TinyJobDirectory() / "corpus/eval.bin", "--teacher",
                 teacher, "--max-tokens", "512", "-o", "json"});
  EXPECT_EQ(eval.exit_code, 0) << eval.err;
}

}  // namespace
}  // namespace retort
