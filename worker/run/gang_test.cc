// END_TO_END by several ranks, each a thread with a workshop of its own, and the orchestrator's part played
// in memory.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <future>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <thread>

#include "core/base/mutex.h"
#include "train/parallel/testing_ranks.h"
#include "worker/run/saved_tensors.h"
#include "worker/run/testing_workshop.h"

namespace retort {
namespace {

constexpr v1::Stage kStage1 = v1::STAGE_MATRIX_ORIENTATION, kStage2 = v1::STAGE_HIDDEN_STATE_ALIGNMENT,
                    kStage3 = v1::STAGE_END_TO_END;

// Forms a generation when two ranks wait, or one where one is enough.
class TwoRanks {
 public:
  void LetOneBeEnough() { LetBeEnough(1); }
  void LetBeEnough(size_t ranks) {
    MutexLock lock(mutex_);
    enough_ = ranks;
  }
  v1::JoinGangReply Join(uint32_t rank, uint64_t after_generation) {
    MutexLock lock(mutex_);
    v1::JoinGangReply reply;
    if (generation_ <= after_generation || left_.contains(rank) || waiting_.contains(rank)) {
      waiting_.insert(rank);
      left_.erase(rank);
      if (waiting_.size() < enough_) return reply;
      waiting_.clear();
      keys_[++generation_] = std::make_shared<RendezvousInMemory>();
    }
    reply.set_generation(generation_);
    reply.set_rank(enough_ == 1 ? 0 : rank);
    reply.set_world_size(static_cast<uint32_t>(enough_));
    return reply;
  }
  // Another process has the rank from now on.
  void Replace(uint32_t rank) {
    MutexLock lock(mutex_);
    left_.insert(rank);
  }
  std::shared_ptr<RendezvousInMemory> Keys(uint64_t generation) {
    MutexLock lock(mutex_);
    return keys_.at(generation);
  }
  uint64_t generation() {
    MutexLock lock(mutex_);
    return generation_;
  }

 private:
  Mutex mutex_;
  size_t enough_ ABSL_GUARDED_BY(mutex_) = 2;
  uint64_t generation_ ABSL_GUARDED_BY(mutex_) = 0;
  std::set<uint32_t> waiting_ ABSL_GUARDED_BY(mutex_);
  std::set<uint32_t> left_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, std::shared_ptr<RendezvousInMemory>> keys_ ABSL_GUARDED_BY(mutex_);
};

class CallsInMemory final : public GangCalls {
 public:
  CallsInMemory(TwoRanks& ranks, uint32_t rank) : ranks_(ranks), rank_(rank) {}

  absl::StatusOr<v1::JoinGangReply> JoinGang(uint64_t after_generation) override {
    return ranks_.Join(rank_, after_generation);
  }
  absl::StatusOr<v1::RendezvousReply> Rendezvous(v1::RendezvousRequest request) override {
    if (calls_until_over_ >= 0 && request.generation() == 1 && calls_until_over_-- == 0) {
      calls_until_over_ = 0;
      return absl::FailedPreconditionError("generation 1 is over");
    }
    RendezvousInMemory& keys = *ranks_.Keys(request.generation());
    v1::RendezvousReply reply;
    const auto add = [&](const std::string& value) {
      reply.add_values()->set_exists(true);
      reply.mutable_values(reply.values_size() - 1)->set_value(value);
    };
    if (request.has_set()) {
      RETORT_CHECK(keys.Set(request.set().key(), request.set().value()).ok());
      add(request.set().value());
    } else if (request.has_add()) {
      add(std::to_string(keys.Add(request.add().key(), request.add().amount()).value()));
    } else {
      const auto values = keys.Get({request.get().keys().begin(), request.get().keys().end()}).value();
      for (const auto& value : values) {
        if (value) add(*value);
        if (!value) reply.add_values();
      }
    }
    return reply;
  }
  uint64_t reform_generation() const override { return reform_generation_; }
  absl::StatusOr<std::string> Host() const override { return host_; }

  int calls_until_over_ = -1;  // of generation 1; negative: it does not end so
  std::string host_ = "127.0.0.1";
  uint64_t reform_generation_ = 0;

 private:
  TwoRanks& ranks_;
  const uint32_t rank_;
};

class GangWorkTest : public testing::Test {
 protected:
  GangWorkTest() {
    SetComputeThreads(1);
    TorchWorkshop workshop = NewWorkshop();
    run_.Prepare(workshop);
    for (const v1::Stage stage : {kStage1, kStage2}) {
      run_.Train(workshop, stage, {0, 2, 3}, WorkshopRun::kSteps);
    }
  }

  TorchWorkshop NewWorkshop() {
    return TorchWorkshop({.roots = {kTinyJobDirectory}, .memory_bytes = uint64_t{1} << 40}, log_);
  }

  v1::Slice SliceOf(uint32_t rank) {
    v1::Slice slice = run_.Slice(kStage3, {rank}, WorkshopRun::kSteps);
    slice.mutable_gang()->set_world_size(2);
    slice.mutable_gang()->set_timeout_ms(timeout_ms_);
    slice.mutable_gang()->set_elastic(is_elastic_);
    return slice;
  }

  // Runs `body` with the loaded work of a rank of its own thread.
  std::thread Rank(uint32_t rank, const std::function<void(SliceWork& work, CallsInMemory& calls)>& body) {
    return std::thread([this, rank, slice = SliceOf(rank), kept = run_.kept, body]() mutable {
      CallsInMemory calls(ranks_, rank);
      TorchWorkshop workshop = NewWorkshop();
      const auto work = workshop.Load(slice, kept, calls, WorkshopRun::kNever, [](const LoadProgress&) {});
      ASSERT_TRUE(work.ok()) << work.status();
      body(**work, calls);
    });
  }

  // Steps until the work stands at `step`.
  static void StepTo(SliceWork& work, uint64_t step) {
    for (uint64_t at = 0; at < step;) {
      const absl::StatusOr<StepReport> report = work.Step(WorkshopRun::kNever);
      ASSERT_TRUE(report.ok()) << report.status();
      if (!report->layers.empty()) at = report->layers[0].step;
    }
  }

  // Of the first step whose turn it is.
  static absl::Status FirstEnd(SliceWork& work, const std::atomic<bool>& stop = WorkshopRun::kNever) {
    absl::StatusOr<StepReport> report = StepReport();
    while (report.ok() && report->layers.empty()) report = work.Step(stop);
    return report.status();
  }

  // All but the times.
  static std::map<std::string, std::string> StateOf(SliceWork& work) {
    std::map<std::string, std::string> state;
    const SavedLayer saved = std::move(work.Copy({0})[0]);
    for (const SavedTensor& tensor : saved.tensors) {
      if (tensor.name != "history/step_seconds" && tensor.name != "result/measured") {
        state[tensor.name] = tensor.bytes;
      }
    }
    return state;
  }

  std::map<std::string, std::string> Undisturbed() {
    std::map<std::string, std::string> state;
    std::thread other = Rank(1, [](SliceWork& work, CallsInMemory&) { StepTo(work, WorkshopRun::kSteps); });
    Rank(0, [&](SliceWork& work, CallsInMemory&) {
      StepTo(work, WorkshopRun::kSteps);
      state = StateOf(work);
    }).join();
    other.join();
    return state;
  }

  static constexpr uint64_t kLost = 7;
  uint32_t timeout_ms_ = 20'000;
  bool is_elastic_ = false;

  std::ostringstream lines_;
  Log log_{v1::LOG_LEVEL_INFO, [] { return int64_t{0}; }, {StreamSink(lines_)}};
  WorkshopRun run_{TinyJobFile()};
  TwoRanks ranks_;
};

TEST_F(GangWorkTest, AReplacementTakesTheSurvivorsStateAndTheBytesAreTheSame) {
  const auto calm = Undisturbed();
  ASSERT_GT(calm.size(), 50u);
  for (const uint32_t lost : {1u, 0u}) {
    SCOPED_TRACE(lost);
    for (const uint32_t rank : {0u, 1u}) ranks_.Replace(rank);
    const uint64_t before = ranks_.generation();
    std::map<std::string, std::string> survivors, replacements;
    std::thread survivor = Rank(1 - lost, [&](SliceWork& work, CallsInMemory&) {
      StepTo(work, WorkshopRun::kSteps);
      survivors = StateOf(work);
    });
    Rank(lost, [&](SliceWork& work, CallsInMemory&) { StepTo(work, kLost); }).join();
    ranks_.Replace(lost);
    Rank(lost, [&](SliceWork& work, CallsInMemory&) {
      StepTo(work, WorkshopRun::kSteps);
      replacements = StateOf(work);
    }).join();
    survivor.join();
    EXPECT_TRUE(survivors == calm);
    EXPECT_TRUE(replacements == calm);
    EXPECT_EQ(ranks_.generation(), before + 2);
  }
}

TEST_F(GangWorkTest, WhatIsTakenOverIsReportedBeforeAnyStepFollows) {
  std::thread survivor = Rank(1, [](SliceWork& work, CallsInMemory&) { StepTo(work, WorkshopRun::kSteps); });
  Rank(0, [&](SliceWork& work, CallsInMemory&) { StepTo(work, kLost); }).join();
  ranks_.Replace(0);
  Rank(0, [&](SliceWork& work, CallsInMemory&) {
    absl::StatusOr<StepReport> report = StepReport();
    while (report.ok() && report->layers.empty()) report = work.Step(WorkshopRun::kNever);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->layers[0].step, kLost);
    EXPECT_EQ(report->layers[0].seconds, 0);
    EXPECT_EQ(work.Copy({0})[0].step, kLost);
    StepTo(work, WorkshopRun::kSteps);
  }).join();
  survivor.join();
}

TEST_F(GangWorkTest, ASurvivorGoesOnAsRankZeroFromWhereItStood) {
  is_elastic_ = true;
  std::thread other = Rank(0, [](SliceWork& work, CallsInMemory&) { StepTo(work, kLost); });
  TorchWorkshop workshop = NewWorkshop();
  CallsInMemory calls(ranks_, 1);
  const v1::Slice first = SliceOf(1);
  auto work = workshop.Load(first, run_.kept, calls, WorkshopRun::kNever, [](const LoadProgress&) {});
  ASSERT_TRUE(work.ok()) << work.status();
  StepTo(**work, kLost);
  other.join();
  const auto left = StateOf(**work);
  (*work)->Drop({1});
  work->reset();

  ranks_.LetOneBeEnough();
  const v1::Slice second = SliceOf(0);
  const std::atomic<bool> stopped = true;
  EXPECT_FALSE(workshop.Load(second, run_.kept, calls, stopped, [](const LoadProgress&) {}).ok());
  work = workshop.Load(second, run_.kept, calls, WorkshopRun::kNever, [](const LoadProgress&) {});
  ASSERT_TRUE(work.ok()) << work.status();
  EXPECT_TRUE(StateOf(**work) == left);
  const auto report = (*work)->Step(WorkshopRun::kNever);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->layers[0].step, kLost);
  EXPECT_EQ(report->layers[0].seconds, 0);
  StepTo(**work, WorkshopRun::kSteps);
  EXPECT_TRUE((*work)->MakeResult(WorkshopRun::kNever).ok());
}

TEST_F(GangWorkTest, ElasticRanksThatCameToOneStepByDifferentWaysGoOnFromRankZeros) {
  is_elastic_ = true;
  std::thread other = Rank(0, [](SliceWork& work, CallsInMemory&) { StepTo(work, kLost); });
  TorchWorkshop workshop = NewWorkshop();
  CallsInMemory calls(ranks_, 1);
  const v1::Slice slice = SliceOf(1);
  const auto load = [&] {
    return workshop.Load(slice, run_.kept, calls, WorkshopRun::kNever, [](const LoadProgress&) {}).value();
  };
  std::unique_ptr<SliceWork> work = load();
  StepTo(*work, kLost);
  other.join();
  work->Drop({1});
  work = load();  // from what it left

  // Rank 0 begins anew, alone, on a machine that rounds otherwise.
  for (SavedTensor& tensor : run_.kept.at(run_.last_.at({kStage2, 3})).tensors) {
    if (tensor.name == "student/model.layers.3.mamba.A_log") tensor.bytes[0] ^= 1;
  }
  for (const uint32_t rank : {0u, 1u}) ranks_.Replace(rank);
  ranks_.LetOneBeEnough();
  std::map<std::string, std::string> rank_zeros;
  std::promise<void> is_there;
  std::thread first = Rank(0, [&](SliceWork& work, CallsInMemory& calls) {
    StepTo(work, kLost - 1);
    calls.reform_generation_ = ranks_.generation();
    StepTo(work, kLost);
    ranks_.LetBeEnough(2);
    is_there.set_value();
    StepTo(work, WorkshopRun::kSteps);
    rank_zeros = StateOf(work);
  });
  is_there.get_future().wait();
  EXPECT_EQ(FirstEnd(*work), absl::OkStatus());
  StepTo(*work, WorkshopRun::kSteps);
  first.join();
  EXPECT_TRUE(StateOf(*work) == rank_zeros);
  EXPECT_NE(lines_.str().find("took another rank's state over at step 7, to which it had come another way"),
            std::string::npos)
      << lines_.str();
}

TEST_F(GangWorkTest, WhatLibTorchThrowsOnTheWayIntoAGangEndsTheSliceAndNotTheProcess) {
  std::thread other([&] {
    v1::JoinGangReply formed;
    while (formed.generation() == 0) formed = ranks_.Join(1, 0);
    const auto group = RankGroup::Connect(
        {.rank = 1, .world_size = 2, .timeout = std::chrono::seconds(20), .address = "127.0.0.1"},
        ranks_.Keys(formed.generation()));
    ASSERT_TRUE(group.ok()) << group.status();
    // At a step of which no memory holds the losses.
    EXPECT_TRUE((*group)->Gather({int64_t{1} << 60, 0, 0}).ok());
  });
  Rank(0, [](SliceWork& work, CallsInMemory&) {
    const absl::Status end = FirstEnd(work);
    EXPECT_NE(end.message().find("entering the gang: "), std::string::npos) << end;
  }).join();
  other.join();
}

TEST_F(GangWorkTest, WhatASurvivorLeftDoesNotLieBesideAnotherRunsWork) {
  is_elastic_ = true;
  ranks_.LetOneBeEnough();
  TorchWorkshop workshop = NewWorkshop();
  CallsInMemory calls(ranks_, 1);
  const auto leave = [&] {
    const v1::Slice slice = SliceOf(1);
    auto work = workshop.Load(slice, run_.kept, calls, WorkshopRun::kNever, [](const LoadProgress&) {});
    RETORT_CHECK(work.ok()) << work.status().ToString();
    EXPECT_GT((*work)->Step(WorkshopRun::kNever)->layers[0].seconds, 0) << "not taken over, but stepped";
    (*work)->Drop({1});
  };
  leave();
  ASSERT_TRUE(workshop.Prepare(PrepareSlice(TinyJobFile()), WorkshopRun::kNever).ok());
  leave();
  v1::Slice other = SliceOf(1);
  other.set_run_id(2);
  const std::atomic<bool> stopped = true;
  EXPECT_FALSE(workshop.Load(other, run_.kept, calls, stopped, [](const LoadProgress&) {}).ok());
  leave();
}

TEST_F(GangWorkTest, ARunThatGotFewerRanksHasTheBytesAndTheNumberOfThose) {
  TorchWorkshop workshop = NewWorkshop();
  const auto end_of = [&](const v1::Slice& slice) {
    CallsInMemory calls(ranks_, 0);
    auto work = workshop.Load(slice, run_.kept, calls, WorkshopRun::kNever, [](const LoadProgress&) {});
    RETORT_CHECK(work.ok()) << work.status().ToString();
    StepTo(**work, WorkshopRun::kSteps);
    std::map<std::string, std::string> files;
    const absl::StatusOr<SavedLayer> result = (*work)->MakeResult(WorkshopRun::kNever);
    for (const SavedTensor& file : result->tensors) files[file.name] = file.bytes;
    return files;
  };
  ranks_.LetOneBeEnough();
  const auto fewer = end_of(SliceOf(0));
  v1::Slice slice = SliceOf(0);
  slice.mutable_gang()->set_world_size(1);
  const auto alone = end_of(slice);
  EXPECT_TRUE(fewer.at("student/model.safetensors") == alone.at("student/model.safetensors"));
  EXPECT_EQ(nlohmann::json::parse(fewer.at("result.json"))["stages"][2]["world_size"], 1);
}

TEST_F(GangWorkTest, AStepsSecondsAreThoseOfAllRanksAndOfTheStepAlone) {
  // Rank 1 loads while rank 0 waits for it.
  std::vector<double> by_the_clock;
  std::thread first = Rank(0, [&](SliceWork& work, CallsInMemory&) {
    for (uint64_t at = 0; at < WorkshopRun::kSteps;) {
      const absl::StatusOr<StepReport> report = work.Step(WorkshopRun::kNever);
      ASSERT_TRUE(report.ok()) << report.status();
      if (report->layers.empty()) continue;
      at = report->layers[0].step;
      by_the_clock.push_back(report->layers[0].seconds);
    }
    const SavedLayer saved = std::move(work.Copy({0})[0]);
    const SavedTensors tensors(saved, "rank 0");
    const auto seconds = tensors.Numbers("history/step_seconds");
    ASSERT_TRUE(seconds.ok()) << seconds.status();
    ASSERT_EQ(seconds->size(), by_the_clock.size());
    for (size_t i = 0; i < seconds->size(); ++i) EXPECT_EQ((*seconds)[i], 2 * by_the_clock[i]);
  });
  Rank(1, [&](SliceWork& work, CallsInMemory&) { StepTo(work, WorkshopRun::kSteps); }).join();
  first.join();
}

TEST_F(GangWorkTest, ARendezvousThatBreaksOffIsTriedAgainInTheNextGeneration) {
  timeout_ms_ = 3'000;
  std::thread other = Rank(1, [](SliceWork& work, CallsInMemory&) { StepTo(work, WorkshopRun::kSteps); });
  Rank(0, [&](SliceWork& work, CallsInMemory& calls) {
    calls.calls_until_over_ = 2;  // its address, and a part of what gloo exchanges
    StepTo(work, WorkshopRun::kSteps);
  }).join();
  other.join();
  EXPECT_GE(ranks_.generation(), 2u);
  EXPECT_NE(lines_.str().find("connecting the ranks: LibTorch: rendezvous, "), std::string::npos)
      << lines_.str();
  EXPECT_NE(lines_.str().find("generation 1 is over"), std::string::npos) << lines_.str();
}

TEST_F(GangWorkTest, RanksThatNeverReachEachOtherGiveUp) {
  timeout_ms_ = 300;
  std::atomic<bool> one_has_ended = false;  // and the other would wait for its replacement
  const auto end_of = [&](SliceWork& work) {
    const absl::Status end = FirstEnd(work, one_has_ended);
    if (one_has_ended.exchange(true)) return;
    EXPECT_TRUE(absl::IsUnavailable(end)) << end;
    EXPECT_NE(end.message().find("rank 1 at 192.0.2.1"), std::string::npos) << end;
    EXPECT_NE(end.message().find("so it has been for "), std::string::npos) << end;
  };
  std::thread other = Rank(1, [&](SliceWork& work, CallsInMemory& calls) {
    calls.host_ = "192.0.2.1";  // of documentation, and nobody's
    end_of(work);
  });
  Rank(0, [&](SliceWork& work, CallsInMemory&) { end_of(work); }).join();
  other.join();
}

TEST_F(GangWorkTest, PartsAfterAStepWhereAnotherWaitsToBeTakenIn) {
  std::thread other = Rank(1, [](SliceWork& work, CallsInMemory&) { StepTo(work, WorkshopRun::kSteps); });
  Rank(0, [&](SliceWork& work, CallsInMemory& calls) {
    StepTo(work, 3);
    calls.reform_generation_ = ranks_.generation();
    StepTo(work, WorkshopRun::kSteps);
  }).join();
  other.join();
  EXPECT_EQ(ranks_.generation(), 2u);
}

TEST_F(GangWorkTest, ARankWithOtherBytesAtTheSameStepIsNotTrainedWith) {
  std::thread other =
      Rank(1, [](SliceWork& work, CallsInMemory&) { EXPECT_TRUE(absl::IsDataLoss(FirstEnd(work))); });
  for (SavedTensor& tensor : run_.kept.at(run_.last_.at({kStage2, 3})).tensors) {
    if (tensor.name == "student/model.layers.3.mamba.A_log") tensor.bytes[0] ^= 1;
  }
  Rank(0, [](SliceWork& work, CallsInMemory&) { EXPECT_TRUE(absl::IsDataLoss(FirstEnd(work))); }).join();
  other.join();
}

}  // namespace
}  // namespace retort
