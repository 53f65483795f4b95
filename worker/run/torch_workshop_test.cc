#include "worker/run/torch_workshop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "core/base/files.h"
#include "core/base/progress.h"
#include "nlohmann/json.hpp"
#include "train/data/testing_dataset.h"
#include "worker/run/local_run.h"
#include "worker/run/testing_workshop.h"

namespace retort {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr v1::Stage kStage1 = v1::STAGE_MATRIX_ORIENTATION, kStage2 = v1::STAGE_HIDDEN_STATE_ALIGNMENT,
                    kStage3 = v1::STAGE_END_TO_END;

class TorchWorkshopTest : public testing::Test {
 protected:
  TorchWorkshopTest() { SetComputeThreads(1); }

  TorchWorkshop NewWorkshop() {
    return TorchWorkshop({.roots = {kTinyJobDirectory}, .memory_bytes = uint64_t{1} << 40}, log_);
  }

  // Trains END_TO_END in two processes' worth of work, cut after `cut` steps, and makes the result.
  SavedLayer Finish(WorkshopRun& run, int cut) {
    TorchWorkshop first = NewWorkshop(), second = NewWorkshop();
    run.Train(first, kStage3, {0}, cut);
    const v1::Slice slice = run.Slice(kStage3, {0}, WorkshopRun::kSteps);
    auto work = second.Load(slice, run.kept, kNever, [](const LoadProgress&) {});
    EXPECT_TRUE(work.ok()) << work.status();
    for (int step = cut; step < static_cast<int>(WorkshopRun::kSteps); ++step) {
      EXPECT_TRUE((*work)->Step(kNever).ok());
    }
    return (*work)->MakeResult(kNever).value();
  }

  static constexpr const std::atomic<bool>& kNever = WorkshopRun::kNever;
  std::ostringstream lines_;
  Log log_{v1::LOG_LEVEL_INFO, [] { return int64_t{0}; }, {StreamSink(lines_)}};
};

std::string FileOf(const SavedLayer& result, const std::string& name) {
  for (const SavedTensor& tensor : result.tensors) {
    if (tensor.name == name) return tensor.bytes;
  }
  ADD_FAILURE() << "no file " << name;
  return "";
}

json WithoutTimes(json result) {
  for (json& stage : result["stages"]) stage.erase("seconds");
  for (const char* key : {"seconds", "peak_memory_bytes", "tokens_per_second"}) result.erase(key);
  return result;
}

std::vector<json> MetricsWithoutTimes(const std::string& text) {
  std::vector<json> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    lines.push_back(json::parse(line));
    lines.back().erase("step_seconds");
  }
  return lines;
}

// Layers in other slices, cut anew and again, at mixed steps, over several workers.
TEST_F(TorchWorkshopTest, MakesTheResultOfOneProcessHoweverTheLayersAreCut) {
  const std::filesystem::path out = TestPath("local");
  std::ostringstream shown;
  Progress progress(shown, {}, [] { return 0.0; });
  ASSERT_EQ(RunLocally({.job = TinyJobFile(), .roots = {kTinyJobDirectory}, .out_dir = out, .threads = 1},
                       progress, kNever)
                .value(),
            RunEnd::kCompleted);

  WorkshopRun run(TinyJobFile());
  TorchWorkshop a = NewWorkshop(), b = NewWorkshop();
  run.Prepare(a);
  run.Train(a, kStage1, {0, 2}, 12);
  run.Train(b, kStage1, {3}, 20);
  run.Train(b, kStage2, {3}, 7);
  run.Train(b, kStage1, {2}, 8);
  run.Train(a, kStage1, {0}, 8);
  run.Train(b, kStage2, {2, 3}, 9);  // layer 2 catches up, then both
  run.Train(a, kStage2, {0, 2, 3}, 20);
  const SavedLayer result = Finish(run, 9);

  for (const auto& entry : std::filesystem::directory_iterator(out / "student")) {
    const std::string name = entry.path().filename();
    EXPECT_TRUE(FileOf(result, "student/" + name) == ReadFile(entry.path()).value()) << name;
  }
  EXPECT_EQ(WithoutTimes(json::parse(FileOf(result, "result.json"))),
            WithoutTimes(json::parse(ReadFile(out / "result.json").value())));
  EXPECT_EQ(MetricsWithoutTimes(FileOf(result, "metrics.jsonl")),
            MetricsWithoutTimes(ReadFile(out / "metrics.jsonl").value()));
}

}  // namespace
}  // namespace retort
