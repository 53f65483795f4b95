// service_bench [--json]: the running orchestrator, as a process on the first core, asked by this one on the
// others over loopback, and the client:
//   - 2,000 workers' heartbeats, each every 2 s on a connection of its own, while runs are submitted and
//     cancelled and plans are made: how long until the answer;
//   - a checkpoint of 2 GiB going in and out again: the orchestrator's most resident memory;
//   - how long `retort --help` takes from its start to its end.
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/crc32c.h"
#include "core/base/mutex.h"
#include "core/base/sha256.h"
#include "core/rpc/call.h"
#include "core/rpc/channel.h"
#include "retort/v1/run_service.grpc.pb.h"
#include "retort/v1/worker_service.grpc.pb.h"
#include "tests/bench/report.h"
#include "tests/support/child_process.h"

namespace retort {
namespace {

using Clock = std::chrono::steady_clock;
using UserStub = v1::RunService::Stub;
using WorkerStub = v1::WorkerService::Stub;

constexpr int kWorkers = 2'000;
constexpr int kRuns = 64;
constexpr uint32_t kLayers = 32;
constexpr std::chrono::milliseconds kInterval{2'000};
constexpr int kRounds = 20;  // of heartbeats; long enough for a rebalancing plan
constexpr uint64_t kChunkBytes = 1 << 20;
constexpr uint64_t kCheckpointChunks = 2'048;

void RunOn(bool first_core) {
  cpu_set_t all, chosen;
  CPU_ZERO(&chosen);
  RETORT_CHECK(sched_getaffinity(0, sizeof(all), &all) == 0);
  int seen = 0;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &all) && (seen++ == 0) == first_core) CPU_SET(core, &chosen);
  }
  if (CPU_COUNT(&chosen) == 0) return;  // there is only one
  RETORT_CHECK(sched_setaffinity(0, sizeof(chosen), &chosen) == 0);
}

template <class Reply>
Reply Ok(absl::StatusOr<Reply> reply) {
  RETORT_CHECK(reply.ok()) << reply.status();
  return *std::move(reply);
}

// retort-orchestrator on the first core, with a state directory of its own.
class Orchestrator {
 public:
  Orchestrator()
      : directory_(std::filesystem::temp_directory_path() / absl::StrCat("retort_bench_", getpid())) {
    std::filesystem::create_directories(directory_);
    cpu_set_t before;
    RETORT_CHECK(sched_getaffinity(0, sizeof(before), &before) == 0);
    RunOn(/*first_core=*/true);
    process_ = std::make_unique<ChildProcess>(std::vector<std::string>{
        RETORT_BIN_DIR "/retort-orchestrator", "serve", "--state", directory_ / "state", "--listen",
        "127.0.0.1:0", "--address-file", directory_ / "address"});
    RETORT_CHECK(sched_setaffinity(0, sizeof(before), &before) == 0);
    RunOn(/*first_core=*/false);
    RETORT_CHECK(Eventually(30, [this] { return std::filesystem::exists(directory_ / "address"); }));
    std::ifstream(directory_ / "address") >> address_;
  }
  ~Orchestrator() {
    process_.reset();
    std::filesystem::remove_all(directory_);
  }
  const std::string& address() const { return address_; }

  double MostResidentMebibytes() const {
    std::ifstream status(absl::StrCat("/proc/", process_->pid(), "/status"));
    for (std::string word; status >> word;) {
      double kibibytes = 0;
      if (word == "VmHWM:" && status >> kibibytes) return kibibytes / 1024;
    }
    return 0;
  }

 private:
  const std::filesystem::path directory_;
  std::unique_ptr<ChildProcess> process_;
  std::string address_;
};

v1::JobSpec BenchJob(const std::string& name) {
  v1::JobSpec job;
  job.set_name(name);
  job.mutable_teacher()->set_path("teacher");
  job.mutable_student()->set_mixer(v1::MIXER_KIND_MAMBA2);
  job.mutable_student()->set_state_size(64);
  job.mutable_student()->set_groups(1);
  job.mutable_data()->add_train("train.bin");
  job.mutable_data()->set_eval("eval.bin");
  job.mutable_data()->set_seq_len(128);
  job.set_micro_batch(4);
  job.mutable_checkpoint()->set_every_steps(100);
  v1::StageBudget& budget = *job.mutable_stages()->mutable_matrix_orientation()->mutable_budget();
  budget.set_tokens(uint64_t{512} * 1'000'000);
  budget.set_tokens_per_step(512);
  return job;
}

v1::PreparedRun Prepared() {
  v1::PreparedRun prepared;
  v1::ModelShape& shape = *prepared.mutable_shape();
  shape.set_layers(kLayers);
  shape.set_hidden_size(512);
  shape.set_intermediate_size(1'536);
  shape.set_query_heads(8);
  shape.set_kv_heads(2);
  shape.set_head_dim(64);
  shape.set_vocab_size(32'000);
  prepared.mutable_inputs()->set_teacher_sha256(std::string(32, 't'));
  for (int i = 0; i < 2; ++i) prepared.mutable_inputs()->add_data()->set_sha256(std::string(32, 'd'));
  return prepared;
}

// A worker that heartbeats and, until it holds a training slice, waits for work, each on a connection of its
// own.
struct BenchWorker {
  std::unique_ptr<WorkerStub> calls;
  v1::RegisterRequest registration;
  v1::LeaseRequest lease;
  v1::LeaseReply lease_reply;
  std::unique_ptr<grpc::ClientContext> lease_context;

  std::unique_ptr<WorkerStub> heartbeats;
  v1::HeartbeatRequest heartbeat;
  v1::HeartbeatReply reply;
  std::unique_ptr<grpc::ClientContext> context;
  Clock::time_point sent;
};

class Cluster {
 public:
  explicit Cluster(const std::string& address)
      : user_(v1::RunService::NewStub(MakeChannel(address))), workers_(kWorkers) {
    for (int i = 0; i < kWorkers; ++i) {
      workers_[i].calls = v1::WorkerService::NewStub(MakeChannel(address));
      workers_[i].heartbeats = v1::WorkerService::NewStub(MakeChannel(address));
      v1::RegisterRequest& registration = workers_[i].registration;
      registration.set_protocol_version(1);
      registration.set_worker_id(1 + i);
      registration.set_name(absl::StrCat("w", i));
      v1::Capabilities& has = *registration.mutable_capabilities();
      has.set_numerics_id("n");
      has.set_compute_path(v1::COMPUTE_PATH_AVX2);
      has.set_device(v1::DEVICE_KIND_CPU);
      has.set_threads(2);
      has.set_memory_bytes(uint64_t{64} << 30);
      has.set_measured_gflops(100 + i % 7);
    }
  }

  // All calls have ended.
  ~Cluster() {
    is_ending_ = true;
    {
      MutexLock lock(mutex_);
      for (BenchWorker& worker : workers_) {
        if (worker.lease_context != nullptr) worker.lease_context->TryCancel();
      }
    }
    RETORT_CHECK(Wait(30, [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return under_way_ == 0; }));
  }

  // Registers all workers, and takes the runs through PREPARE; then the plan grants what it can.
  void Begin() {
    for (int run = 0; run < kRuns; ++run) Submit(absl::StrCat("run", run));
    for (BenchWorker& worker : workers_) {
      const v1::RegisterReply reply =
          Ok(Call(*worker.calls, &WorkerStub::Register, worker.registration, kCallDeadline));
      worker.lease.set_worker_id(worker.registration.worker_id());
      worker.lease.set_epoch(reply.epoch());
      MutexLock lock(mutex_);
      worker.heartbeat.set_worker_id(worker.registration.worker_id());
      worker.heartbeat.set_epoch(reply.epoch());
      // Registering all takes longer than a lease.
      if (worker.registration.worker_id() % 500 == 0) SendAll();
    }
    for (BenchWorker& worker : workers_) AskForWork(worker);
    for (int prepared = 0; prepared < kRuns; ++prepared) {
      RETORT_CHECK(Wait(60, [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return !to_prepare_.empty(); }));
      CompletePrepare();
      MutexLock lock(mutex_);
      if (prepared % 8 == 0) SendAll();
    }
  }

  int leases() {
    MutexLock lock(mutex_);
    return leases_;
  }

  // Milliseconds until each answer, over all rounds.
  std::vector<double> Beat() {
    {
      MutexLock lock(mutex_);
      latencies_ms_.clear();
    }
    const std::jthread busy([this](const std::stop_token& stop) { KeepBusy(stop); });
    const Clock::time_point begin = Clock::now();
    for (int i = 0; i < kRounds * kWorkers; ++i) {
      MutexLock lock(mutex_);
      changed_.wait_until(mutex_, begin + i * kInterval / kWorkers, [] { return false; });
      Send(workers_[i % kWorkers]);
    }
    RETORT_CHECK(Wait(10, [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      return latencies_ms_.size() >= size_t{kRounds} * kWorkers;
    }));
    MutexLock lock(mutex_);
    return latencies_ms_;
  }

 private:
  bool Wait(double seconds, const std::function<bool()>& condition) {
    MutexLock lock(mutex_);
    return changed_.wait_for(mutex_, std::chrono::duration<double>(seconds), condition);
  }

  void Submit(const std::string& name) {
    v1::SubmitRequest request;
    request.set_request_id(absl::StrCat("submit ", name));
    *request.mutable_job() = BenchJob(name);
    Ok(Call(*user_, &UserStub::Submit, request, kCallDeadline));
  }

  void AskForWork(BenchWorker& worker) {
    MutexLock lock(mutex_);
    ++under_way_;
    worker.lease_context = std::make_unique<grpc::ClientContext>();
    worker.lease_context->set_deadline(std::chrono::system_clock::now() + kLeaseDeadline);
    worker.calls->async()->Lease(worker.lease_context.get(), &worker.lease, &worker.lease_reply,
                                 [this, &worker](const grpc::Status& status) { TakeLease(worker, status); });
  }

  void TakeLease(BenchWorker& worker, const grpc::Status& status) {
    if (status.ok() && !worker.lease_reply.has_slice() && !is_ending_) AskForWork(worker);
    MutexLock lock(mutex_);
    --under_way_;
    changed_.notify_all();
    if (!status.ok() || !worker.lease_reply.has_slice()) return;
    const v1::Slice& slice = worker.lease_reply.slice();
    v1::SliceProgress& progress = *worker.heartbeat.mutable_progress();
    progress.set_token(slice.token());
    progress.set_phase(v1::SLICE_PHASE_TRAINING);
    for (const v1::SliceLayer& layer : slice.layers()) progress.add_layers()->set_layer(layer.layer());
    if (slice.stage() == v1::STAGE_PREPARE) {
      to_prepare_.push_back(&worker);
    } else {
      ++leases_;
    }
  }

  void CompletePrepare() {
    BenchWorker* worker = nullptr;
    v1::CompleteRequest request;
    {
      MutexLock lock(mutex_);
      worker = to_prepare_.back();
      to_prepare_.pop_back();
      request.set_worker_id(worker->heartbeat.worker_id());
      request.set_epoch(worker->heartbeat.epoch());
      request.set_token(worker->heartbeat.progress().token());
      worker->heartbeat.clear_progress();
    }
    request.add_layers(0);
    *request.mutable_prepared() = Prepared();
    Ok(Call(*worker->calls, &WorkerStub::Complete, request, kSyncedWriteDeadline));
    AskForWork(*worker);
  }

  // Synced writes, and plans that become stale, all the time.
  void KeepBusy(const std::stop_token& stop) {
    for (int i = 0; !stop.stop_requested(); ++i) {
      const std::string name = absl::StrCat("passing", i);
      Submit(name);
      v1::CancelRequest cancel;
      cancel.set_request_id(absl::StrCat("cancel ", name));
      cancel.mutable_run()->set_name(name);
      Ok(Call(*user_, &UserStub::Cancel, cancel, kCallDeadline));
      Eventually(0.5, [] { return false; });
    }
  }

  void SendAll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (BenchWorker& worker : workers_) {
      if (worker.heartbeat.epoch() != 0 && worker.context == nullptr) Send(worker);
    }
  }

  void Send(BenchWorker& worker) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (worker.context != nullptr) return;  // one at a time
    ++under_way_;
    worker.context = std::make_unique<grpc::ClientContext>();
    worker.context->set_deadline(std::chrono::system_clock::now() + 2 * kInterval);
    worker.sent = Clock::now();
    worker.heartbeats->async()->Heartbeat(
        worker.context.get(), &worker.heartbeat, &worker.reply, [this, &worker](const grpc::Status& status) {
          const double ms = std::chrono::duration<double, std::milli>(Clock::now() - worker.sent).count();
          RETORT_CHECK(status.ok()) << status.error_message();
          MutexLock lock(mutex_);
          worker.context.reset();
          latencies_ms_.push_back(ms);
          --under_way_;
          changed_.notify_all();
        });
  }

  const std::unique_ptr<UserStub> user_;
  std::vector<BenchWorker> workers_;
  std::atomic<bool> is_ending_ = false;
  Mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<BenchWorker*> to_prepare_ ABSL_GUARDED_BY(mutex_);
  int leases_ ABSL_GUARDED_BY(mutex_) = 0;     // of training slices
  int under_way_ ABSL_GUARDED_BY(mutex_) = 0;  // calls
  std::vector<double> latencies_ms_ ABSL_GUARDED_BY(mutex_);
};

// The c-th chunk of the checkpoint.
std::string ChunkData(uint64_t c) {
  std::string data(kChunkBytes, '\0');
  uint64_t state = c + 1;
  for (size_t i = 0; i + 8 <= data.size(); i += 8) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    std::memcpy(&data[i], &state, 8);
  }
  return data;
}

// One worker with one layer's slice, whose checkpoint is large.
class LargeCheckpoint {
 public:
  explicit LargeCheckpoint(const std::string& address)
      : user_(v1::RunService::NewStub(MakeChannel(address))),
        worker_(v1::WorkerService::NewStub(MakeChannel(address))) {}

  void Pass() {
    TakeFirstSlice();
    const v1::BeginPublishReply begun = Begin();
    Upload(begun.publish());
    v1::CommitPublishRequest commit;
    Name(commit);
    commit.set_publish(begun.publish());
    Ok(Call(*worker_, &WorkerStub::CommitPublish, commit, kSyncedWriteDeadline));
    Fetch(begun.publish());
  }

 private:
  template <class Request>
  void Name(Request& request) const {
    request.set_worker_id(7);
    request.set_epoch(epoch_);
    if constexpr (requires { request.set_token(1); }) request.set_token(slice_.token());
  }

  v1::Slice Lease() {
    v1::LeaseRequest request;
    Name(request);
    return Ok(Call(*worker_, &WorkerStub::Lease, request, kLeaseDeadline)).slice();
  }

  void TakeFirstSlice() {
    v1::SubmitRequest submit;
    submit.set_request_id("large");
    *submit.mutable_job() = BenchJob("large");
    Ok(Call(*user_, &UserStub::Submit, submit, kCallDeadline));
    v1::RegisterRequest registration;
    registration.set_protocol_version(1);
    registration.set_worker_id(7);
    registration.set_name("large");
    v1::Capabilities& has = *registration.mutable_capabilities();
    has.set_compute_path(v1::COMPUTE_PATH_AVX2);
    has.set_device(v1::DEVICE_KIND_CPU);
    has.set_threads(2);
    has.set_memory_bytes(uint64_t{64} << 30);
    has.set_measured_gflops(100);
    epoch_ = Ok(Call(*worker_, &WorkerStub::Register, registration, kCallDeadline)).epoch();
    slice_ = Lease();
    v1::CompleteRequest complete;
    Name(complete);
    complete.add_layers(0);
    *complete.mutable_prepared() = Prepared();
    Ok(Call(*worker_, &WorkerStub::Complete, complete, kSyncedWriteDeadline));
    slice_ = Lease();
  }

  v1::BeginPublishReply Begin() const {
    Sha256 sha256;
    for (uint64_t c = 0; c < kCheckpointChunks; ++c) sha256.Add(ChunkData(c));
    v1::BeginPublishRequest request;
    Name(request);
    request.set_kind(v1::PUBLISH_KIND_CHECKPOINT);
    request.set_identity_sha256(slice_.identity_sha256());
    v1::LayerCheckpoint& layer = *request.add_layers();
    layer.set_layer(slice_.layers(0).layer());
    layer.set_step(100);
    v1::TensorInfo& info = *layer.add_tensors();
    info.set_name("student/w");
    info.set_dtype(v1::DATA_TYPE_U8);
    info.add_shape(kCheckpointChunks * kChunkBytes);
    info.set_sha256(sha256.Digest());
    return Ok(Call(*worker_, &WorkerStub::BeginPublish, request, kSyncedWriteDeadline));
  }

  void Upload(uint64_t publish) {
    grpc::ClientContext context;
    v1::UploadChunksReply reply;
    const auto writer = worker_->UploadChunks(&context, &reply);
    v1::UploadChunksRequest message;
    Name(*message.mutable_header());
    message.mutable_header()->set_publish(publish);
    writer->Write(message);
    for (uint64_t c = 0; c < kCheckpointChunks; ++c) {
      v1::TensorChunk& chunk = *message.mutable_chunk();
      chunk.set_offset_bytes(c * kChunkBytes);
      chunk.set_data(ChunkData(c));
      chunk.set_crc32c(Crc32c(chunk.data()));
      writer->Write(message);
    }
    writer->WritesDone();
    const grpc::Status status = writer->Finish();
    RETORT_CHECK(status.ok()) << status.error_message();
  }

  void Fetch(uint64_t publish) {
    v1::FetchCheckpointRequest request;
    Name(request);
    request.set_run_id(slice_.run_id());
    request.mutable_checkpoint()->set_stage(slice_.stage());
    request.mutable_checkpoint()->set_layer(slice_.layers(0).layer());
    request.mutable_checkpoint()->set_publish(publish);
    grpc::ClientContext context;
    const auto reader = worker_->FetchCheckpoint(&context, request);
    v1::FetchCheckpointReply reply;
    uint64_t bytes = 0;
    while (reader->Read(&reply)) bytes += reply.chunk().data().size();
    const grpc::Status status = reader->Finish();
    RETORT_CHECK(status.ok() && bytes == kCheckpointChunks * kChunkBytes) << status.error_message();
  }

  const std::unique_ptr<UserStub> user_;
  const std::unique_ptr<WorkerStub> worker_;
  uint64_t epoch_ = 0;
  v1::Slice slice_;
};

void BenchHeartbeats() {
  const Orchestrator orchestrator;
  Cluster cluster(orchestrator.address());
  cluster.Begin();
  std::vector<double> latencies_ms = cluster.Beat();
  std::sort(latencies_ms.begin(), latencies_ms.end());
  const auto quantile = [&](double q) {
    return latencies_ms[static_cast<size_t>(q * static_cast<double>(latencies_ms.size() - 1))];
  };
  const std::string what =
      absl::StrCat("heartbeat, ", kWorkers, " workers each 2 s, ", cluster.leases(), " leases");
  Report(absl::StrCat(what, ": median"), quantile(0.5), "ms");
  Report(absl::StrCat(what, ": p99"), quantile(0.99), "ms", AtMost(20));
  Report("the orchestrator's memory with them", orchestrator.MostResidentMebibytes(), "MiB");
}

void BenchLargeCheckpoint() {
  const Orchestrator orchestrator;
  LargeCheckpoint(orchestrator.address()).Pass();
  Report("the orchestrator's memory, a checkpoint of 2 GiB in and out", orchestrator.MostResidentMebibytes(),
         "MiB", AtMost(300));
}

void BenchStartUp() {
  constexpr int kStarts = 20;
  std::vector<double> times_ms;
  for (int i = 0; i <= kStarts; ++i) {
    const Clock::time_point begin = Clock::now();
    const ProgramEnd end = RunProgram({RETORT_BIN_DIR "/retort", "--help"}, 30);
    if (i > 0) times_ms.push_back(std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
    RETORT_CHECK(end.exit_code == 0) << end.err;  // the first one warms up
  }
  std::nth_element(times_ms.begin(), times_ms.begin() + kStarts / 2, times_ms.end());
  Report(absl::StrCat("retort --help, from start to end: median of ", kStarts), times_ms[kStarts / 2], "ms",
         AtMost(50));
}

}  // namespace
}  // namespace retort

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--json") == 0) retort::ReportAsJson();
  retort::BenchStartUp();
  retort::BenchHeartbeats();
  retort::BenchLargeCheckpoint();
  return 0;
}
