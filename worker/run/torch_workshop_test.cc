#include "worker/run/torch_workshop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "absl/strings/escaping.h"
#include "nlohmann/json.hpp"
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
    auto work = second.Load(slice, run.kept, run.alone, kNever, [](const LoadProgress&) {});
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
TEST_F(TorchWorkshopTest, MakesTheSameResultHoweverTheLayersAreCut) {
  WorkshopRun whole(TinyJobFile()), run(TinyJobFile());
  TorchWorkshop a = NewWorkshop(), b = NewWorkshop();
  whole.Prepare(a);
  whole.Train(a, kStage1, {0, 2, 3}, 20);
  whole.Train(a, kStage2, {0, 2, 3}, 20);
  const SavedLayer expected = Finish(whole, 20);

  run.Prepare(a);
  run.Train(a, kStage1, {0, 2}, 12);
  run.Train(b, kStage1, {3}, 20);
  run.Train(b, kStage2, {3}, 7);
  run.Train(b, kStage1, {2}, 8);
  run.Train(a, kStage1, {0}, 8);
  run.Train(b, kStage2, {2, 3}, 9);  // layer 2 catches up, then both
  run.Train(a, kStage2, {0, 2, 3}, 20);
  const SavedLayer result = Finish(run, 9);

  ASSERT_EQ(result.tensors.size(), 6u);
  for (size_t i = 0; i < result.tensors.size(); ++i) {
    const std::string& name = expected.tensors[i].name;
    EXPECT_EQ(result.tensors[i].name, name);
    const bool timed = name == "metrics.jsonl" || name == "result.json";
    EXPECT_TRUE(timed || result.tensors[i].bytes == expected.tensors[i].bytes) << name;
  }
  EXPECT_EQ(WithoutTimes(json::parse(FileOf(result, "result.json"))),
            WithoutTimes(json::parse(FileOf(expected, "result.json"))));
  EXPECT_EQ(MetricsWithoutTimes(FileOf(result, "metrics.jsonl")),
            MetricsWithoutTimes(FileOf(expected, "metrics.jsonl")));
}

double Distance(const json& a, const json& b) {
  double squares = 0;
  for (size_t i = 0; i < a.size(); ++i) squares += std::pow(a[i].get<double>() - b[i].get<double>(), 2);
  return std::sqrt(squares);
}

TEST_F(TorchWorkshopTest, TheReportShowsOneHeadOfTheMiddleLayerAndContinuedTexts) {
  WorkshopRun run(TinyJobFile());
  TorchWorkshop workshop = NewWorkshop();
  run.Prepare(workshop);
  run.Train(workshop, kStage1, {0, 2, 3}, 20);
  run.Train(workshop, kStage2, {0, 2, 3}, 20);
  const SavedLayer result = Finish(run, 20);
  EXPECT_EQ(json::parse(FileOf(result, "result.json"))["layer_types"],
            json({"mamba2", "attention", "mamba2", "mamba2"}));
  const json report = json::parse(FileOf(result, "report.json"));
  EXPECT_LT(report["architecture"]["teacher_parameters"], report["architecture"]["student_parameters"]);

  const json& matrices = report["matrices"];
  EXPECT_EQ(matrices["layer"], 2);
  const json& teacher = matrices["teacher"];
  ASSERT_EQ(teacher.size(), 64u * 65 / 2);  // of 64 tokens
  EXPECT_EQ(teacher[0], 1);                 // the first token attends to itself alone
  for (size_t row = 0, at = 0; row < 64; at += ++row) {
    double sum = 0;
    for (size_t column = 0; column <= row; ++column) sum += teacher[at + column].get<double>();
    EXPECT_NEAR(sum, 1, 0.01) << row;  // of three digits each
  }
  std::vector<std::string> moments;
  for (const json& student : matrices["students"]) moments.push_back(student["after"]);
  EXPECT_THAT(moments,
              ElementsAre("untrained", "matrix_orientation", "hidden_state_alignment", "end_to_end"));
  EXPECT_LT(Distance(matrices["students"][1]["values"], teacher),
            0.95 * Distance(matrices["students"][0]["values"], teacher));

  ASSERT_EQ(report["samples"].size(), 2u);  // prompts of the job
  for (const char* part : {"prompt", "teacher", "student"}) {
    EXPECT_NE(report["samples"][0][part], report["samples"][1][part]) << part;
  }
}

// A run whose stage 1 is done.
class AfterStageOne : public TorchWorkshopTest {
 protected:
  AfterStageOne() {
    run_.Prepare(workshop_);
    run_.Train(workshop_, kStage1, {0, 2, 3}, WorkshopRun::kSteps);
  }
  absl::StatusOr<std::unique_ptr<SliceWork>> Load(const v1::Slice& slice) {
    return workshop_.Load(slice, run_.kept, run_.alone, kNever,
                          [&](const LoadProgress& p) { told_.push_back(p); });
  }

  TorchWorkshop workshop_ = NewWorkshop();
  WorkshopRun run_{TinyJobFile()};
  std::vector<LoadProgress> told_;
};

TEST_F(AfterStageOne, StageTwoFetchesTheStudentsTensorsOnly) {
  run_.kept.fetched_.clear();
  ASSERT_TRUE(Load(run_.Slice(kStage2, {2, 3}, 20)).ok());
  EXPECT_THAT(run_.kept.fetched_, ElementsAre(testing::Pair(2, "student/"), testing::Pair(3, "student/")));
}

TEST_F(AfterStageOne, TheSlowestLayersTrainUntilTheyHaveCaughtUp) {
  run_.Train(workshop_, kStage2, {2}, 2);
  const auto work = Load(run_.Slice(kStage2, {0, 2}, 20)).value();
  const auto trained = [&] {
    std::vector<std::pair<uint32_t, uint64_t>> steps;
    const StepReport report = work->Step(kNever).value();
    for (const LayerStep& layer : report.layers) steps.emplace_back(layer.layer, layer.step);
    return steps;
  };
  using testing::Pair;
  EXPECT_THAT(trained(), ElementsAre(Pair(0, 1)));
  EXPECT_THAT(trained(), ElementsAre(Pair(0, 2)));
  EXPECT_THAT(trained(), ElementsAre(Pair(0, 3), Pair(2, 3)));
  work->Drop({0});
  EXPECT_THAT(trained(), ElementsAre(Pair(2, 4)));
}

TEST_F(AfterStageOne, ACheckpointHasStudentMomentsAndHistoryInTheOrderOfTheirNames) {
  const auto work = Load(run_.Slice(kStage2, {2}, 20)).value();
  const double first = work->Step(kNever)->layers[0].loss, second = work->Step(kNever)->layers[0].loss;
  const SavedLayer saved = std::move(work->Copy({2})[0]);
  EXPECT_EQ(saved.step, 2u);
  EXPECT_DOUBLE_EQ(saved.loss, (first + second) / 2);
  std::vector<std::string> names;
  for (const SavedTensor& tensor : saved.tensors) names.push_back(tensor.name);
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  EXPECT_EQ(names.size(), 16u + 32u + 2u);
  EXPECT_THAT(names, testing::IsSupersetOf({"student/model.layers.2.mamba.A_log", "history/loss",
                                            "adam/model.layers.2.mamba.out_proj.weight/v"}));
  const double third = work->Step(kNever)->layers[0].loss;
  EXPECT_DOUBLE_EQ(work->Copy({2})[0].loss, third);
}

TEST_F(AfterStageOne, AStepThatIsStoppedIsAppliedToNoLayer) {
  const auto work = Load(run_.Slice(kStage2, {0, 2}, 20)).value();
  const SavedLayer before = std::move(work->Copy({2})[0]);
  const std::atomic<bool> stop = true;
  EXPECT_EQ(work->Step(stop).status().code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(work->failed_layers(), testing::IsEmpty());
  const SavedLayer after = std::move(work->Copy({2})[0]);
  EXPECT_EQ(after.step, 0u);
  for (size_t i = 0; i < before.tensors.size(); ++i)
    EXPECT_TRUE(before.tensors[i].bytes == after.tensors[i].bytes);
}

TEST_F(AfterStageOne, ALossThatIsNotANumberNamesItsLayer) {
  SavedLayer& spoilt = run_.kept.at(run_.last_.at({kStage1, 2}));
  for (SavedTensor& tensor : spoilt.tensors) {
    if (tensor.name == "student/model.layers.2.mamba.out_proj.weight")
      tensor.bytes[3] = tensor.bytes[2] = '\xff';
  }
  const auto work = Load(run_.Slice(kStage2, {0, 2, 3}, 20)).value();
  const absl::Status status = work->Step(kNever).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("layer 2: the loss is"));
  EXPECT_THAT(work->failed_layers(), ElementsAre(2));
}

TEST_F(AfterStageOne, RefusesACheckpointThatLacksATensor) {
  run_.kept.at(run_.last_.at({kStage1, 2})).tensors.pop_back();  // the last by name
  const absl::Status status = Load(run_.Slice(kStage2, {2}, 20)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("matrix_orientation, layer 2"),
                                                   HasSubstr("student/model.layers.2.mamba.z_proj.weight")));
}

TEST_F(AfterStageOne, SaysOfASharedTeacherThePartThatThePlanCounts) {
  run_.Train(workshop_, kStage2, {0, 2, 3}, 20);
  TorchWorkshop sharing(
      {.roots = {kTinyJobDirectory}, .memory_bytes = uint64_t{1} << 40, .teacher_part = 0.25}, log_);
  const auto planned = [&](TorchWorkshop& workshop, const v1::Slice& slice) {
    uint64_t bytes = 0;
    const auto tell = [&](const LoadProgress& progress) { bytes = progress.planned_memory_bytes; };
    EXPECT_TRUE(workshop.Load(slice, run_.kept, run_.alone, kNever, tell).ok());
    return static_cast<int64_t>(bytes);
  };
  const auto spared = [&](v1::Stage stage, const std::vector<uint32_t>& layers) {
    const v1::Slice slice = run_.Slice(stage, layers, 20);
    return planned(workshop_, slice) - planned(sharing, slice);
  };
  constexpr int64_t kEmbedding = 4 * 512 * 64, kBlock = 4 * (3 * 64 * 160 + 2 * 64 * 64 + 2 * 64 * 32);
  EXPECT_EQ(spared(kStage2, {2, 3}), 3 * (kEmbedding + 4 * kBlock) / 4);
  EXPECT_EQ(spared(kStage2, {2}), kEmbedding + 3 * kBlock - (kEmbedding + 4 * kBlock) / 4);
  EXPECT_EQ(spared(kStage3, {0}), 3 * (kEmbedding + 4 * kBlock) / 4);
}

TEST_F(AfterStageOne, CountsThePassesOfLayersThatTrainSideBySide) {
  const auto planned = [&](uint64_t memory_bytes, const std::vector<uint32_t>& layers) {
    TorchWorkshop workshop({.roots = {kTinyJobDirectory}, .memory_bytes = memory_bytes}, log_);
    uint64_t bytes = 0;
    const auto tell = [&](const LoadProgress& progress) { bytes = progress.planned_memory_bytes; };
    const absl::Status status =
        workshop.Load(run_.Slice(kStage2, layers, 20), run_.kept, run_.alone, kNever, tell).status();
    EXPECT_TRUE(status.ok()) << status;
    return bytes;
  };
  const int threads_before = at::get_num_threads();
  SetComputeThreads(2);
  const uint64_t one = planned(1'000'000, {2, 3}), two = planned(uint64_t{1} << 40, {2, 3});
  EXPECT_GT(two, one);
  const uint64_t pass = two - one;
  EXPECT_EQ(planned(one + 3 * pass, {2, 3}), two);
  EXPECT_EQ(planned(one + pass, {2, 3}), one) << "there must be room for two";
  EXPECT_EQ(planned(1'000'000, {3}), planned(uint64_t{1} << 40, {3})) << "a layer alone has one pass";
  SetComputeThreads(threads_before);
}

TEST_F(AfterStageOne, SaysWhatOfTheTeacherCouldNotBeSharedAndCountsIt) {
  const std::filesystem::path directory =
      std::filesystem::path(testing::TempDir()) / "retort_unshared_weights_test";
  std::filesystem::remove_all(directory);
  const v1::Slice slice = run_.Slice(kStage2, {3}, 20);
  // In the place of the embedding's file: it can be neither mapped nor replaced.
  std::filesystem::create_directories(directory / absl::BytesToHexString(slice.inputs().teacher_sha256()) /
                                      "model.embed_tokens.weight/taken");
  TorchWorkshop sharing({.roots = {kTinyJobDirectory},
                         .memory_bytes = uint64_t{1} << 40,
                         .weights_directory = directory,
                         .teacher_part = 0.25},
                        log_);
  const auto tell = [&](const LoadProgress& progress) { told_.push_back(progress); };
  ASSERT_TRUE(sharing.Load(slice, run_.kept, run_.alone, kNever, tell).ok());
  ASSERT_EQ(told_.size(), 3u);
  EXPECT_EQ(told_[2].planned_memory_bytes - told_[1].planned_memory_bytes, 3u * 512 * 64);
  EXPECT_THAT(lines_.str(),
              HasSubstr(" MiB of the teacher's weights are shared with other workers here, and 0.1 MiB "
                        "are this worker's own, 0.1 MiB more than is planned for it: cannot "));
  std::filesystem::remove_all(directory);
}

TEST_F(AfterStageOne, RefusesAHandOverThatLacksALayer) {
  run_.Train(workshop_, kStage2, {0, 2, 3}, 20);
  v1::Slice slice = run_.Slice(kStage3, {0}, 20);
  slice.mutable_handover()->DeleteSubrange(4, 1);
  const absl::Status status = Load(slice).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("lacks layer 2 of hidden_state_alignment"));
}

TEST_F(AfterStageOne, RefusesOtherContentOfAnInputByNameWithBothHashes) {
  v1::Slice slice = run_.Slice(kStage2, {2}, 20);
  slice.mutable_inputs()->mutable_data(1)->set_sha256(std::string(32, '\x11'));
  const absl::Status status = Load(slice).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("corpus/eval.bin"), HasSubstr(std::string(64, '1')),
                    testing::Not(HasSubstr("train.bin"))));
}

TEST_F(AfterStageOne, RefusesARunOfOtherNumericsByName) {
  v1::Slice slice = run_.Slice(kStage2, {2}, 20);
  slice.mutable_numerics()->set_threads(7);
  const absl::Status status = Load(slice).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("threads is 1, the run's is 7"));
}

TEST_F(AfterStageOne, SaysThatItMeasuresAndLogsTheAssembledStudentOnce) {
  run_.Train(workshop_, kStage2, {0, 2, 3}, 20);
  ASSERT_TRUE(Load(run_.Slice(kStage3, {0}, 20)).ok());
  ASSERT_EQ(told_.size(), 3u);
  EXPECT_EQ(told_[0].planned_memory_bytes, 0u);
  EXPECT_GT(told_[1].planned_memory_bytes, uint64_t{160} << 20);
  EXPECT_EQ(told_[1].phase, v1::SLICE_PHASE_LOADING);
  EXPECT_EQ(told_[2].phase, v1::SLICE_PHASE_MEASURING);
  EXPECT_THAT(lines_.str(), HasSubstr("the student assembled after hidden_state_alignment: perplexity"));
  run_.Train(workshop_, kStage3, {0}, 1);
  lines_.str("");
  ASSERT_TRUE(Load(run_.Slice(kStage3, {0}, 20)).ok());
  EXPECT_EQ(lines_.str(), "") << "a restart measures nothing again";
}

TEST_F(TorchWorkshopTest, PreparingReportsHashesAndShapeAndRefusesAJobThatDoesNotFit) {
  TorchWorkshop workshop = NewWorkshop();
  v1::JobSpec job = TinyJobFile();
  const v1::PreparedRun prepared = workshop.Prepare(PrepareSlice(job), kNever).value();
  EXPECT_EQ(prepared.shape().layers(), 4u);
  EXPECT_EQ(prepared.shape().vocab_size(), 512u);
  EXPECT_TRUE(prepared.shape().tied_head());
  EXPECT_EQ(prepared.inputs().teacher_sha256().size(), 32u);
  EXPECT_EQ(prepared.inputs().data_size(), 3);
  EXPECT_EQ(prepared.inputs().data(2).path(), "corpus/off_domain.bin");
  job.mutable_student()->set_groups(3);
  EXPECT_EQ(workshop.Prepare(PrepareSlice(job), kNever).status().code(), absl::StatusCode::kInvalidArgument);
  job = TinyJobFile();
  job.mutable_data()->set_eval("corpus/absent.bin");
  const absl::Status absent = workshop.Prepare(PrepareSlice(job), kNever).status();
  EXPECT_EQ(absent.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(absent.message()), HasSubstr("corpus/absent.bin"));
}

TEST_F(TorchWorkshopTest, PreparingProbesForTheLayersToKeep) {
  v1::JobSpec job = TinyJobFile();
  v1::KeepAttention& keep = *job.mutable_student()->mutable_keep_attention();
  keep.clear_layers();
  keep.set_auto_layers(2);
  keep.set_probe_steps(3);
  TorchWorkshop first = NewWorkshop(), second = NewWorkshop();
  const v1::ProbedLayers chosen = first.Prepare(PrepareSlice(job), kNever)->probed();
  ASSERT_EQ(chosen.layers_size(), 2);
  EXPECT_LT(chosen.layers(0), chosen.layers(1));
  EXPECT_EQ(second.Prepare(PrepareSlice(job), kNever)->probed().SerializeAsString(),
            chosen.SerializeAsString());
  EXPECT_THAT(lines_.str(), AllOf(HasSubstr("probe of layers: hidden_state_alignment, step 1 of 3"),
                                  HasSubstr("INFO probe of layers: keeps attention in layers "),
                                  HasSubstr("run=1 stage=prepare token=1")));
  TorchWorkshop small({.roots = {kTinyJobDirectory}, .memory_bytes = 1'000'000}, log_);
  const absl::Status status = small.Prepare(PrepareSlice(job), kNever).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("does not fit: a probe trains all 4 layers"));
  std::atomic<bool> stop = true;
  EXPECT_EQ(second.Prepare(PrepareSlice(job), stop).status().code(), absl::StatusCode::kCancelled);
}

TEST_F(TorchWorkshopTest, AJobOfStageThreeAloneGoesOnFromItsCheckpointToTheSameStudent) {
  v1::JobSpec job = TinyJobFile();
  job.mutable_stages()->clear_hidden_state_alignment();
  job.mutable_stages()->clear_matrix_orientation();
  TorchWorkshop workshop = NewWorkshop();
  const auto student_after = [&](int cut) {
    WorkshopRun run(job);
    run.Prepare(workshop);
    return FileOf(Finish(run, cut), "student/model.safetensors");
  };
  EXPECT_TRUE(student_after(20) == student_after(3));
}

TEST_F(TorchWorkshopTest, AJobWithoutStageThreeEndsWithItsAssembledStudent) {
  v1::JobSpec job = TinyJobFile();
  job.mutable_stages()->clear_end_to_end();
  job.mutable_stages()->clear_matrix_orientation();
  WorkshopRun run(job);
  TorchWorkshop workshop = NewWorkshop();
  run.Prepare(workshop);
  run.Train(workshop, kStage2, {0, 2, 3}, 20);
  const v1::Slice slice = run.Slice(kStage3, {0}, 0);
  const auto work = workshop.Load(slice, run.kept, run.alone, kNever, [](const LoadProgress&) {}).value();
  EXPECT_EQ(work->Copy({0})[0].step, 0u);
  const SavedLayer result = work->MakeResult(kNever).value();
  const json described = json::parse(FileOf(result, "result.json"));
  EXPECT_EQ(described["stages"].size(), 1u);
  EXPECT_EQ(described["student"], described["stages"][0]["student"]);
  EXPECT_EQ(MetricsWithoutTimes(FileOf(result, "metrics.jsonl")).size(), 60u);
}

}  // namespace
}  // namespace retort
