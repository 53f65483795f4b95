// The agent's threads over real gRPC with a real orchestrator. The work is the simulator's chain of hashes,
// so that the result says whether anything was lost, repeated or mixed up on the way.
#include "worker/agent/agent_process.h"

#include <condition_variable>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/rpc/call.h"
#include "core/rpc/channel.h"
#include "core/store/store_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "orchestrator/service/server.h"
#include "retort/v1/run_service.grpc.pb.h"
#include "tests/sim/chain.h"

namespace retort::sim {
namespace {

using testing::HasSubstr;

constexpr uint32_t kLayers = 3;

v1::JobSpec ThreeLayerJob() {
  v1::JobSpec job;
  job.set_name("three");
  job.mutable_teacher()->set_path("teacher");
  job.mutable_student()->set_mixer(v1::MIXER_KIND_MAMBA2);
  job.mutable_student()->set_state_size(64);
  job.mutable_student()->set_groups(1);
  job.mutable_data()->add_train("train.bin");
  job.mutable_data()->set_eval("eval.bin");
  job.mutable_data()->set_seq_len(128);
  job.mutable_data()->set_seed(8);  // one that gives tensors of two chunks
  job.set_micro_batch(4);
  job.mutable_checkpoint()->set_every_steps(4);
  for (v1::StageBudget* budget : {job.mutable_stages()->mutable_matrix_orientation()->mutable_budget(),
                                  job.mutable_stages()->mutable_hidden_state_alignment()->mutable_budget(),
                                  job.mutable_stages()->mutable_end_to_end()->mutable_budget()}) {
    budget->set_tokens(10 * 512);
    budget->set_tokens_per_step(512);
    budget->set_lr(1e-3);
  }
  return job;
}

// Lets so many steps pass, then none until it is opened.
class Gate {
 public:
  void CloseAfter(int steps) {
    MutexLock lock(mutex_);
    steps_left_ = steps;
  }
  void Open() {
    MutexLock lock(mutex_);
    steps_left_.reset();
    changed_.notify_all();
  }
  void AwaitClosed() {
    MutexLock lock(mutex_);
    while (steps_left_ != 0) changed_.wait(mutex_);
  }
  absl::Status Pass(const std::atomic<bool>& stop) {
    MutexLock lock(mutex_);
    while (steps_left_ == 0 && !stop) changed_.wait_for(mutex_, std::chrono::milliseconds(5));
    if (stop) return absl::CancelledError("told to stop");
    if (steps_left_ && --*steps_left_ == 0) changed_.notify_all();
    return absl::OkStatus();
  }

 private:
  Mutex mutex_;
  std::condition_variable_any changed_;
  std::optional<int> steps_left_ ABSL_GUARDED_BY(mutex_);
};

class ChainSliceWork final : public SliceWork {
 public:
  ChainSliceWork(ChainWork chain, Gate& gate) : chain_(std::move(chain)), gate_(gate) {}

  absl::StatusOr<StepReport> Step(const std::atomic<bool>& stop) override {
    RETURN_IF_ERROR(gate_.Pass(stop));
    return chain_.Step(0.001);
  }
  std::vector<uint32_t> failed_layers() const override { return {}; }
  std::vector<SavedLayer> Copy(const std::vector<uint32_t>& layers) override { return chain_.Copy(layers); }
  void Drop(const std::vector<uint32_t>& layers) override { chain_.Drop(layers); }
  absl::StatusOr<SavedLayer> MakeResult(const std::atomic<bool>&) override { return chain_.Result(); }

 private:
  ChainWork chain_;
  Gate& gate_;
};

class ChainWorkshop final : public Workshop {
 public:
  explicit ChainWorkshop(Gate& gate) : gate_(gate) {}

  absl::StatusOr<v1::PreparedRun> Prepare(const v1::Slice& slice, const std::atomic<bool>&) override {
    return sim::Prepare(slice.job(), kLayers);
  }
  absl::StatusOr<std::unique_ptr<SliceWork>> Load(
      const v1::Slice& slice, CheckpointSource& source, GangCalls&, const std::atomic<bool>&,
      const std::function<void(const LoadProgress&)>& on_progress) override {
    on_progress({.phase = v1::SLICE_PHASE_LOADING, .planned_memory_bytes = 1 << 20});
    std::vector<SavedLayer> fetched;
    const auto fetch = [&](const v1::CheckpointRef& reference) -> absl::Status {
      ASSIGN_OR_RETURN(SavedLayer layer,
                       source.Fetch(reference, reference.stage() == slice.stage() ? "" : "student/"));
      fetched.push_back(std::move(layer));
      return absl::OkStatus();
    };
    for (const v1::SliceLayer& layer : slice.layers()) {
      if (layer.has_checkpoint()) RETURN_IF_ERROR(fetch(layer.checkpoint()));
    }
    for (const v1::CheckpointRef& reference : slice.handover()) {
      if (!slice.layers(0).has_checkpoint()) RETURN_IF_ERROR(fetch(reference));
    }
    ASSIGN_OR_RETURN(ChainWork chain, ChainWork::Load(slice, fetched));
    return std::make_unique<ChainSliceWork>(std::move(chain), gate_);
  }

 private:
  Gate& gate_;
};

// A worker's process, as far as the agent goes.
class AgentThread {
 public:
  AgentThread(const std::string& address, const std::string& name, Gate& gate) : workshop_(gate) {
    options_.address = address;
    options_.name = name;
    options_.grace_ms = 4'000;
    options_.build_version = "test";
    v1::Capabilities& has = options_.capabilities;
    has.set_numerics_id("n1");
    has.set_compute_path(v1::COMPUTE_PATH_AVX2);
    has.set_device(v1::DEVICE_KIND_CPU);
    has.set_threads(2);
    has.set_memory_bytes(uint64_t{8} << 30);
    has.set_measured_gflops(100);
    thread_ = std::thread([this] { end_ = RunAgent(options_, workshop_, log_, shipped_, stop_); });
  }
  ~AgentThread() {
    if (thread_.joinable()) Terminate().IgnoreError();
  }

  // SIGTERM; how it ended.
  absl::Status Terminate() {
    stop_ = true;
    return Await();
  }
  absl::Status Await() {
    thread_.join();
    return end_;
  }

 private:
  AgentOptions options_;
  ChainWorkshop workshop_;
  LogBuffer shipped_;
  Log log_{v1::LOG_LEVEL_DEBUG, [] { return int64_t{1'700'000'000'000}; }, {shipped_.Sink()}};
  std::atomic<bool> stop_ = false;
  absl::Status end_;
  std::thread thread_;
};

class AgentProcessTest : public testing::Test {
 protected:
  AgentProcessTest() {
    options_.state_directory = directory_.path();
    options_.listen = "127.0.0.1:0";
    options_.scheduling.heartbeat_interval_ms = 50;
    options_.scheduling.lease_ttl_ms = 3'000;
    options_.scheduling.lease_margin_ms = 500;
    Start();
  }

  void Start() {
    server_.reset();
    auto server = orchestrator::Server::Start(options_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    options_.listen = server_->address();  // the same again after a restart
    user_ = v1::RunService::NewStub(MakeChannel(server_->address()));
  }

  uint64_t Submit() {
    v1::SubmitRequest request;
    request.set_request_id("one");
    *request.mutable_job() = ThreeLayerJob();
    const auto reply = Call(*user_, &v1::RunService::Stub::Submit, request, kCallDeadline);
    EXPECT_TRUE(reply.ok()) << reply.status();
    return reply.ok() ? reply->run_id() : 0;
  }

  // Follows the run to its end.
  v1::RunState Follow(uint64_t run_id) {
    v1::WatchRequest request;
    request.mutable_run()->set_id(run_id);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    const auto reader = user_->Watch(&context, request);
    v1::RunState state = v1::RUN_STATE_UNSPECIFIED;
    v1::WatchReply reply;
    while (reader->Read(&reply)) {
      if (reply.has_snapshot()) state = reply.snapshot().summary().state();
      if (reply.has_event() && reply.event().kind() == v1::EVENT_KIND_LEASE_ENDED) {
        causes_.push_back(reply.event().cause());
      }
    }
    EXPECT_TRUE(FromGrpc(reader->Finish()).ok());
    return state;
  }

  std::string Download(uint64_t run_id) {
    v1::DownloadRequest request;
    request.mutable_run()->set_id(run_id);
    request.set_file("result.json");
    grpc::ClientContext context;
    const auto reader = user_->Download(&context, request);
    v1::DownloadReply reply;
    std::string bytes;
    while (reader->Read(&reply)) bytes += reply.chunk().data();
    EXPECT_TRUE(FromGrpc(reader->Finish()).ok());
    return bytes;
  }

  void ExpectUndisturbedEnd(uint64_t run_id) {
    EXPECT_EQ(Follow(run_id), v1::RUN_STATE_SUCCEEDED);
    EXPECT_EQ(Download(run_id), Undisturbed(ThreeLayerJob(), kLayers).ResultFile());
  }

  TemporaryDirectory directory_;
  orchestrator::ServerOptions options_;
  std::unique_ptr<orchestrator::Server> server_;
  std::unique_ptr<v1::RunService::Stub> user_;
  std::vector<v1::EndCause> causes_;  // of the leases that ended, as Follow saw them
  Gate gate_;
};

TEST_F(AgentProcessTest, TwoWorkersBringARunToItsEnd) {
  AgentThread first(server_->address(), "w1", gate_), second(server_->address(), "w2", gate_);
  ExpectUndisturbedEnd(Submit());
  EXPECT_EQ(first.Terminate(), absl::OkStatus());
  EXPECT_EQ(second.Terminate(), absl::OkStatus());
}

TEST_F(AgentProcessTest, AWorkerThatIsToldToEndSavesAndAnotherGoesOn) {
  gate_.CloseAfter(7);
  const uint64_t run_id = Submit();
  {
    AgentThread first(server_->address(), "w1", gate_);
    gate_.AwaitClosed();
    EXPECT_EQ(first.Terminate(), absl::OkStatus());
  }
  gate_.Open();
  AgentThread second(server_->address(), "w2", gate_);
  ExpectUndisturbedEnd(run_id);
  EXPECT_THAT(causes_, testing::Contains(v1::END_CAUSE_PREEMPTION));
}

TEST_F(AgentProcessTest, AnOrchestratorThatRestartsFindsItsWorkerAgain) {
  gate_.CloseAfter(7);
  const uint64_t run_id = Submit();
  AgentThread worker(server_->address(), "w1", gate_);
  gate_.AwaitClosed();
  Start();
  gate_.Open();
  ExpectUndisturbedEnd(run_id);
  EXPECT_THAT(causes_, testing::Each(v1::END_CAUSE_COMPLETED));  // it kept its lease
}

TEST_F(AgentProcessTest, ADrainedWorkerLeavesByItself) {
  gate_.CloseAfter(7);
  const uint64_t run_id = Submit();
  AgentThread first(server_->address(), "w1", gate_);
  gate_.AwaitClosed();
  v1::DrainWorkerRequest drain;
  drain.set_request_id("drain");
  drain.set_worker_name("w1");
  EXPECT_TRUE(Call(*user_, &v1::RunService::Stub::DrainWorker, drain, kCallDeadline).ok());
  gate_.Open();
  EXPECT_EQ(first.Await(), absl::OkStatus());
  AgentThread second(server_->address(), "w2", gate_);
  ExpectUndisturbedEnd(run_id);
}

TEST_F(AgentProcessTest, AWorkerWhoseNameIsTakenSinceEnds) {
  AgentThread first(server_->address(), "w1", gate_);
  gate_.CloseAfter(1);
  const uint64_t run_id = Submit();
  gate_.AwaitClosed();
  AgentThread second(server_->address(), "w1", gate_);
  EXPECT_EQ(first.Await().code(), absl::StatusCode::kFailedPrecondition);
  gate_.Open();
  ExpectUndisturbedEnd(run_id);
}

TEST_F(AgentProcessTest, LogLinesArriveAtTheOrchestrator) {
  AgentThread worker(server_->address(), "w1", gate_);
  const uint64_t run_id = Submit();
  ExpectUndisturbedEnd(run_id);
  EXPECT_EQ(worker.Terminate(), absl::OkStatus());  // ships what is left
  v1::LogsRequest request;
  request.set_worker_name("w1");
  grpc::ClientContext context;
  const auto reader = user_->Logs(&context, request);
  v1::LogsReply reply;
  std::string all;
  while (reader->Read(&reply)) {
    for (const v1::LogLine& line : reply.lines())
      absl::StrAppend(&all, line.run_id(), " ", line.text(), "\n");
  }
  EXPECT_THAT(all, HasSubstr("0 registered at epoch 1"));
  EXPECT_THAT(all, HasSubstr(absl::StrCat(run_id, " loaded")));
}

TEST_F(AgentProcessTest, EndsWithItsGraceWhenNobodyAnswers) {
  AgentThread worker(server_->address(), "w1", gate_);
  gate_.CloseAfter(1);
  Submit();
  gate_.AwaitClosed();
  server_.reset();
  EXPECT_EQ(worker.Terminate().code(), absl::StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace retort::sim
