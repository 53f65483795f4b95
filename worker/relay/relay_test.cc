// Slices of the tiny job that train beside each other in one process, each in a worker's workshop of its own,
// and pull from each other over gRPC on loopback.
#include "worker/relay/relay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/rpc/channel.h"
#include "core/rpc/testing_server.h"
#include "tests/support/child_process.h"
#include "worker/run/testing_gang.h"
#include "worker/run/testing_workshop.h"

namespace retort {
namespace {

constexpr v1::Stage kStage1 = v1::STAGE_MATRIX_ORIENTATION, kStage2 = v1::STAGE_HIDDEN_STATE_ALIGNMENT;
constexpr uint64_t kMicroBatches = 2, kSteps = WorkshopRun::kSteps;
constexpr uint64_t kBoundaryBytes = 2 * 64 * 64 * sizeof(float);

// A worker as far as the relay goes.
class RelayWorker {
 public:
  explicit RelayWorker(Log& log, uint64_t memory_bytes = uint64_t{1} << 40)
      : relay_(Relay::Start("127.0.0.1", UseComputeThreads, log).value()),
        workshop_({.roots = {kTinyJobDirectory}, .memory_bytes = memory_bytes}, log, relay_.get()) {}

  TorchWorkshop& workshop() { return workshop_; }
  RelayState& state() { return relay_->state(); }
  RelayCounts& counts() { return relay_->state().counts(); }
  v1::RelayUpstream AsUpstream(uint32_t last_layer) const {
    v1::RelayUpstream upstream;
    upstream.set_worker_name("below");
    upstream.set_address(relay_->address());
    upstream.set_boundary(last_layer + 1);
    return upstream;
  }
  void TakeOrders(uint64_t token, const v1::RelayOrders& orders) {
    relay_->state().TakeOrders(token, orders);
  }

  // Loads the slice, whose result Step and Publish then mean.
  void Load(
      const v1::Slice& slice, CheckpointSource& source,
      const std::function<void(const LoadProgress&)>& on_progress = [](const LoadProgress&) {}) {
    work_ = workshop_.Load(slice, source, gang_, WorkshopRun::kNever, on_progress).value();
    layers_.clear();
    for (const v1::SliceLayer& layer : slice.layers()) layers_.push_back(layer.layer());
  }
  // Steps until the slice has taken `steps` more.
  void Step(uint64_t steps) {
    for (uint64_t taken = 0; taken < steps;) {
      const absl::StatusOr<StepReport> report = work_->Step(WorkshopRun::kNever);
      ASSERT_TRUE(report.ok()) << report.status();
      taken += !report->layers.empty();
    }
  }
  SliceWork& work() { return *work_; }
  const std::vector<uint32_t>& layers() const { return layers_; }
  void Discard() { work_.reset(); }

 private:
  const std::unique_ptr<Relay> relay_;
  TorchWorkshop workshop_;
  NoGang gang_;
  std::unique_ptr<SliceWork> work_;
  std::vector<uint32_t> layers_;
};

// Hands Pulls on to a worker, and breaks every third answer: one is damaged, one ends too soon, one ends with
// an error after its first message.
class BrokenLine final : private v1::ActivationService::Service {
 public:
  explicit BrokenLine(const std::string& worker)
      : stub_(v1::ActivationService::NewStub(MakeChannel(worker))) {}
  std::string address() const { return server_.address(); }
  int broken() const { return broken_; }

 private:
  grpc::Status Pull(grpc::ServerContext*, const v1::PullRequest* request,
                    grpc::ServerWriter<v1::PullReply>* writer) override {
    const int call = calls_++;
    const bool breaks = call % 3 == 2;
    grpc::ClientContext context;
    const auto reader = stub_->Pull(&context, *request);
    for (v1::PullReply reply; reader->Read(&reply);) {
      if (breaks && reply.has_chunk()) return Break(call / 3 % 3, reply, *writer);
      writer->Write(reply);
    }
    return reader->Finish();
  }
  grpc::Status Break(int how, v1::PullReply& reply, grpc::ServerWriter<v1::PullReply>& writer) {
    ++broken_;
    if (how == 0) (*reply.mutable_chunk()->mutable_data())[17] ^= 4;
    if (how != 1) writer.Write(reply);
    return how == 2 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "the line is cut") : grpc::Status::OK;
  }

  const std::unique_ptr<v1::ActivationService::Stub> stub_;
  std::atomic<int> calls_ = 0, broken_ = 0;
  const TestingServer server_{*this};
};

// Says to each Pull that it works on it, and then that it cannot.
class EmptyPromises final : private v1::ActivationService::Service {
 public:
  std::string address() const { return server_.address(); }
  int calls() const { return calls_; }

 private:
  grpc::Status Pull(grpc::ServerContext*, const v1::PullRequest* request,
                    grpc::ServerWriter<v1::PullReply>* writer) override {
    ++calls_;
    v1::PullReply reply;
    *reply.mutable_batch() = request->batch();
    reply.set_teacher_sha256(request->teacher_sha256());
    reply.mutable_waiting();
    writer->Write(reply);
    return {grpc::StatusCode::RESOURCE_EXHAUSTED, "no memory"};
  }

  std::atomic<int> calls_ = 0;
  const TestingServer server_{*this};
};

class RelayTest : public testing::Test {
 protected:
  RelayTest() {
    SetComputeThreads(1);
    TorchWorkshop alone({.roots = {kTinyJobDirectory}, .memory_bytes = uint64_t{1} << 40}, log_);
    expected_.Prepare(alone);
    run_.Prepare(alone);
    for (const v1::Stage stage : {kStage1, kStage2}) {
      expected_.Train(alone, stage, {0, 2, 3}, static_cast<int>(kSteps));
    }
  }

  // Of `layers`, that pulls from `below`, if any, and is pulled from by slices that stand at `low_step`.
  v1::Slice SliceOf(v1::Stage stage, const std::vector<uint32_t>& layers,
                    const std::optional<v1::RelayUpstream>& below, std::optional<uint64_t> low_step) {
    v1::Slice slice = run_.Slice(stage, layers, total_steps_);
    slice.set_identity_sha256("identity");
    if (below) {
      slice.set_input(v1::INPUT_SOURCE_RELAY);
      *slice.mutable_relay()->mutable_upstream() = *below;
    }
    if (low_step) slice.mutable_relay()->set_low_step(*low_step);
    return slice;
  }

  void Publish(v1::Stage stage, RelayWorker& worker) { run_.Publish(stage, worker.work(), worker.layers()); }

  // What was published so far is what one worker makes.
  void ExpectTheBytesOfOneWorker(size_t layers) {
    size_t compared = 0;
    for (const auto& [task, ref] : run_.last_) {
      const SavedLayer &saved = run_.kept.at(ref), &alone = expected_.kept.at(expected_.last_.at(task));
      EXPECT_EQ(saved.step, kSteps);
      for (size_t i = 0; i < alone.tensors.size(); ++i) {
        if (alone.tensors[i].name == "history/step_seconds") continue;
        EXPECT_EQ(saved.tensors[i].bytes == alone.tensors[i].bytes, true)
            << task.second << " " << alone.tensors[i].name;
      }
      ++compared;
    }
    EXPECT_EQ(compared, layers);
  }

  // How often a slice has taken up pulling again.
  int regained() const { return regained_; }

  uint64_t total_steps_ = kSteps;  // of a stage
  std::ostringstream lines_;
  std::atomic<int> regained_ = 0;
  Log log_{v1::LOG_LEVEL_INFO,
           [] { return int64_t{0}; },
           {StreamSink(lines_), [this](const v1::LogLine& line) {
              regained_ += line.text().find("the worker below answers again") != std::string::npos;
            }}};
  WorkshopRun expected_{TinyJobFile()}, run_{TinyJobFile()};
};

TEST_F(RelayTest, AChainOfThreeRunsEachTeacherBlockOnceAndMakesTheSameBytes) {
  RelayWorker a(log_), b(log_), c(log_);
  for (const v1::Stage stage : {kStage1, kStage2}) {
    a.Load(SliceOf(stage, {0}, std::nullopt, 0), run_.kept);
    b.Load(SliceOf(stage, {2}, a.AsUpstream(0), 0), run_.kept);
    c.Load(SliceOf(stage, {3}, b.AsUpstream(2), std::nullopt), run_.kept);
    {
      const std::jthread below([&] { a.Step(kSteps); }), middle([&] { b.Step(kSteps); });
      c.Step(kSteps);
    }
    for (RelayWorker* worker : {&a, &b, &c}) {
      Publish(stage, *worker);
      worker->Discard();
    }
  }
  ExpectTheBytesOfOneWorker(6);
  const uint64_t passes = 2 * kSteps * kMicroBatches;
  EXPECT_EQ(a.counts().trained_blocks, passes);
  EXPECT_EQ(b.counts().trained_blocks, 2 * passes);
  EXPECT_EQ(c.counts().trained_blocks, passes);
  for (RelayWorker* worker : {&a, &b, &c}) {
    EXPECT_EQ(worker->counts().served_blocks, 0u);
    EXPECT_EQ(worker->counts().recomputed, 0u);
  }
  EXPECT_EQ(c.counts().received, passes);
  EXPECT_EQ(c.counts().received_bytes, passes * kBoundaryBytes);
  EXPECT_EQ(b.counts().sent_bytes, passes * kBoundaryBytes);
}

TEST_F(RelayTest, TheTimeOfAHopBeginsWhenTheUpstreamHasTheBatch) {
  RelayWorker a(log_), b(log_);
  a.Load(SliceOf(kStage1, {0}, std::nullopt, 0), run_.kept);
  b.Load(SliceOf(kStage1, {2}, a.AsUpstream(0), std::nullopt), run_.kept);
  constexpr double kHeldSeconds = 0.5;
  const double begin_seconds = MonotonicSeconds();
  absl::StatusOr<StepReport> report;
  std::thread above([&] {
    do {
      report = b.work().Step(WorkshopRun::kNever);
    } while (report.ok() && report->layers.empty());
  });
  EXPECT_TRUE(Eventually(30, [&] { return MonotonicSeconds() - begin_seconds > kHeldSeconds; }));
  const double asked_seconds = MonotonicSeconds();
  a.Step(1);
  above.join();
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->received_bytes, kBoundaryBytes) << "of one, the fastest";
  EXPECT_GT(report->receive_seconds, 0);
  EXPECT_LE(report->receive_seconds, MonotonicSeconds() - asked_seconds);
}

TEST_F(RelayTest, SlicesThatRecomputeRunTheTeacherFromTheEmbeddingUpEach) {
  RelayWorker a(log_), b(log_), c(log_);
  a.Load(SliceOf(kStage1, {0}, std::nullopt, std::nullopt), run_.kept);
  b.Load(SliceOf(kStage1, {2}, std::nullopt, std::nullopt), run_.kept);
  c.Load(SliceOf(kStage1, {3}, std::nullopt, std::nullopt), run_.kept);
  for (RelayWorker* worker : {&a, &b, &c}) {
    worker->Step(kSteps);
    Publish(kStage1, *worker);
  }
  ExpectTheBytesOfOneWorker(3);
  EXPECT_EQ(a.counts().trained_blocks, kSteps * kMicroBatches);
  EXPECT_EQ(b.counts().trained_blocks, 3 * kSteps * kMicroBatches);
  EXPECT_EQ(c.counts().trained_blocks, 4 * kSteps * kMicroBatches);
}

TEST_F(RelayTest, ASliceThatComesLateIsServedByTheTeacherAlone) {
  RelayWorker a(log_), b(log_);
  a.Load(SliceOf(kStage1, {0, 2}, std::nullopt, std::nullopt), run_.kept);
  a.Step(kSteps);  // nobody pulls, so it keeps nothing
  Publish(kStage1, a);
  b.Load(SliceOf(kStage1, {3}, a.AsUpstream(2), std::nullopt), run_.kept);
  b.Step(kSteps);
  Publish(kStage1, b);
  ExpectTheBytesOfOneWorker(3);
  EXPECT_EQ(a.counts().served_blocks, kSteps * kMicroBatches * 3);
  EXPECT_EQ(b.counts().recomputed, 0u);
}

TEST_F(RelayTest, AnAnswerByTheTeacherIsAnnouncedBeforeItIsMadeAndWhenItIsThere) {
  RelayWorker a(log_);
  const v1::Slice slice = SliceOf(kStage1, {0, 2}, std::nullopt, std::nullopt);
  a.Load(slice, run_.kept);
  a.Step(kSteps);  // nobody pulls, so it keeps nothing
  v1::PullRequest request;
  request.mutable_batch()->set_run_id(slice.run_id());
  request.mutable_batch()->set_stage(kStage1);
  request.mutable_batch()->set_boundary(3);
  request.set_identity_sha256(slice.identity_sha256());
  request.set_teacher_sha256(slice.inputs().teacher_sha256());
  const auto stub = v1::ActivationService::NewStub(MakeChannel(a.AsUpstream(2).address()));
  grpc::ClientContext context;
  const auto reader = stub->Pull(&context, request);
  std::string parts;
  for (v1::PullReply reply; reader->Read(&reply);) parts += reply.has_waiting() ? 'w' : 'c';
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_THAT(parts, testing::MatchesRegex("ww+c"));
}

TEST_F(RelayTest, WhoIsAskedForWhatItDoesNotHaveAsksFurtherUp) {
  RelayWorker a(log_), b(log_), c(log_);
  a.Load(SliceOf(kStage1, {0}, std::nullopt, std::nullopt), run_.kept);
  b.Load(SliceOf(kStage1, {2}, a.AsUpstream(0), std::nullopt), run_.kept);
  c.Load(SliceOf(kStage1, {3}, b.AsUpstream(2), std::nullopt), run_.kept);
  c.Step(kSteps);  // the others stand still
  EXPECT_EQ(a.counts().served_blocks, kSteps * kMicroBatches);
  EXPECT_EQ(b.counts().served_blocks, 2 * kSteps * kMicroBatches);
  EXPECT_EQ(b.counts().received, kSteps * kMicroBatches);
  Publish(kStage1, c);
  ExpectTheBytesOfOneWorker(1);
}

TEST_F(RelayTest, ASliceWhoseUpstreamIsGoneRecomputesUntilAnotherAnswers) {
  RelayWorker b(log_);
  std::optional<RelayWorker> a(std::in_place, log_);
  v1::Slice below = SliceOf(kStage2, {0, 2}, std::nullopt, 0);
  a->Load(below, run_.kept);
  const v1::Slice slice = SliceOf(kStage2, {3}, a->AsUpstream(2), std::nullopt);
  b.Load(slice, run_.kept);
  {
    const std::jthread training([&] { a->Step(6); });
    b.Step(6);
  }
  EXPECT_EQ(b.counts().recomputed, 0u);
  a.reset();
  b.Step(6);
  const uint64_t recomputed = b.counts().recomputed;
  EXPECT_GE(recomputed, 1u) << "what was not asked for ahead";
  EXPECT_THAT(lines_.str(), testing::HasSubstr("no worker below answers"));

  a.emplace(log_);
  a->Load(below, run_.kept);  // from its first step, and it takes none
  const uint64_t received = b.counts().received;
  v1::RelayOrders orders;
  *orders.mutable_upstream() = a->AsUpstream(2);
  b.TakeOrders(slice.token(), orders);
  EXPECT_TRUE(Eventually(30, [&] { return b.counts().received > received; }));
  b.Step(kSteps - 12);
  EXPECT_EQ(b.counts().recomputed, recomputed);
  EXPECT_THAT(lines_.str(), testing::HasSubstr("answers again"));
}

TEST_F(RelayTest, AWorkerThatIsSetBackFartherThanItsLeadRunsItsTeacherInTrainingOnly) {
  total_steps_ = 5 * kSteps;
  v1::JobSpec job = TinyJobFile();
  v1::StageBudget& budget = *job.mutable_stages()->mutable_matrix_orientation()->mutable_budget();
  budget.set_tokens(5 * budget.tokens());
  run_ = WorkshopRun(job);
  TorchWorkshop alone({.roots = {kTinyJobDirectory}, .memory_bytes = uint64_t{1} << 40}, log_);
  run_.Prepare(alone);
  RelayWorker b(log_);
  std::optional<RelayWorker> a(std::in_place, log_);
  a->Load(SliceOf(kStage1, {0}, std::nullopt, 0), run_.kept);
  const v1::Slice above = SliceOf(kStage1, {2}, a->AsUpstream(0), std::nullopt);
  b.Load(above, run_.kept);
  const auto train = [&](uint64_t a_steps, uint64_t b_steps) {
    const std::jthread below([&] { a->Step(a_steps); });
    b.Step(b_steps);
  };
  train(5, 5);
  Publish(kStage1, *a);
  train(25, 25);
  a.reset();  // killed
  a.emplace(log_);
  a->Load(SliceOf(kStage1, {0}, std::nullopt, 30), run_.kept);  // 25 behind; the lead is 16
  v1::RelayOrders orders;
  *orders.mutable_upstream() = a->AsUpstream(0);
  b.TakeOrders(above.token(), orders);
  EXPECT_TRUE(Eventually(30, [&] { return regained() == 1; }));
  train(55, 30);
  EXPECT_EQ(a->counts().trained_blocks, 55 * kMicroBatches);
  EXPECT_EQ(a->counts().served_blocks, 0u);
  EXPECT_EQ(b.counts().recomputed, 0u);
}

TEST_F(RelayTest, AnUpstreamThatPromisesAndFailsHoldsNobodyUp) {
  const EmptyPromises below;
  RelayWorker b(log_);
  v1::RelayUpstream upstream;
  upstream.set_address(below.address());
  upstream.set_boundary(3);
  b.Load(SliceOf(kStage1, {3}, upstream, std::nullopt), run_.kept);
  const double begin = MonotonicSeconds();
  b.Step(kSteps);
  // A wait of one silence, 5 s, for each of these micro-batches would be 200 s.
  EXPECT_LT(MonotonicSeconds() - begin, 60);
  EXPECT_EQ(b.counts().recomputed, kSteps * kMicroBatches);
  EXPECT_GE(below.calls(), 1);
  EXPECT_EQ(regained(), 0);
  Publish(kStage1, b);
  ExpectTheBytesOfOneWorker(1);
}

TEST_F(RelayTest, AnswersThatBreakOffOrAreDamagedAreAskedForAgain) {
  RelayWorker a(log_), b(log_);
  a.Load(SliceOf(kStage1, {0, 2}, std::nullopt, 0), run_.kept);
  v1::RelayUpstream upstream = a.AsUpstream(2);
  const BrokenLine line(upstream.address());
  upstream.set_address(line.address());
  b.Load(SliceOf(kStage1, {3}, upstream, std::nullopt), run_.kept);
  {
    const std::jthread training([&] { a.Step(kSteps); });
    b.Step(1);  // begins to pull
    for (uint64_t step = 1; step < kSteps; ++step) {
      // Not before its input is there, or it would recompute while the line rests.
      EXPECT_TRUE(Eventually(30, [&] { return b.counts().received >= (step + 1) * kMicroBatches; }));
      b.Step(1);
    }
  }
  Publish(kStage1, b);
  ExpectTheBytesOfOneWorker(1);
  EXPECT_EQ(b.counts().recomputed, 0u);
  EXPECT_GE(line.broken(), 9);
  EXPECT_THAT(lines_.str(), testing::HasSubstr("does not have its checksum at byte 0"));
}

TEST_F(RelayTest, ATeacherOfNoFurtherUseIsLetGoOfBeforeMoreIsLoaded) {
  RelayWorker a(log_, /*memory_bytes=*/1);
  const v1::Slice slice = SliceOf(kStage1, {0, 3}, std::nullopt, 0);
  a.Load(slice, run_.kept);
  v1::PullRequest request;
  request.mutable_batch()->set_run_id(slice.run_id());
  request.set_identity_sha256("identity");
  request.set_teacher_sha256(slice.inputs().teacher_sha256());
  using WeakTensor = c10::weak_intrusive_ptr<at::TensorImpl>;
  std::map<int64_t, WeakTensor> of_block;
  for (const auto& tensor : ModelTensors(a.state().Find(request, RelayNowMs()).run->teacher)) {
    if (tensor.value->defined()) of_block.emplace(tensor.place, tensor.value->getIntrusivePtr());
  }
  ASSERT_EQ(of_block.size(), 5u) << "the embedding and blocks 0 to 3";
  // Before anything of the slice is in memory.
  const auto load = [&](const v1::Slice& next, bool is_block_0_kept) {
    int planned = 0;
    a.Discard();
    a.Load(next, run_.kept, [&](const LoadProgress& progress) {
      if (progress.planned_memory_bytes == 0) return;
      ++planned;
      EXPECT_TRUE(of_block.at(3).expired());
      EXPECT_EQ(!of_block.at(0).expired(), is_block_0_kept);
    });
    EXPECT_EQ(planned, 1);
  };
  load(SliceOf(kStage1, {0}, std::nullopt, 0), true);
  v1::Slice of_another_run = SliceOf(kStage1, {0}, std::nullopt, 0);
  of_another_run.set_run_id(2);
  of_another_run.mutable_job()->mutable_data()->set_seed(8);
  load(of_another_run, false);
}

TEST_F(RelayTest, SlicesThatWereCutAnewPullAtTheirNewBoundaries) {
  RelayWorker a(log_), b(log_);
  // a has 0 and 2 and gives 2 to b, which begins behind.
  a.Load(SliceOf(kStage1, {0, 2}, std::nullopt, 0), run_.kept);
  b.Load(SliceOf(kStage1, {3}, a.AsUpstream(2), std::nullopt), run_.kept);
  {
    const std::jthread training([&] { a.Step(8); });
    b.Step(8);
  }
  Publish(kStage1, b);
  run_.Publish(kStage1, a.work(), {2});
  a.work().Drop({2});
  b.Discard();
  b.Load(SliceOf(kStage1, {2, 3}, a.AsUpstream(0), std::nullopt), run_.kept);
  {
    const std::jthread training([&] { a.Step(kSteps - 8); });
    b.Step(kSteps - 8);
  }
  Publish(kStage1, b);
  run_.Publish(kStage1, a.work(), {0});
  ExpectTheBytesOfOneWorker(3);
  EXPECT_EQ(b.counts().recomputed, 0u);
}

}  // namespace
}  // namespace retort
