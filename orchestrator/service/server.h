// The orchestrator as it runs: the store, the coordinator, both services on gRPC, and a thread that keeps
// time.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "core/base/log.h"
#include "core/base/mutex.h"
#include "core/store/store.h"
#include "grpcpp/server.h"
#include "orchestrator/coordinator/coordinator.h"
#include "orchestrator/logs/log_store.h"
#include "orchestrator/service/log_writer.h"
#include "orchestrator/service/run_service.h"
#include "orchestrator/service/worker_service.h"

namespace retort::orchestrator {

// What tests lower.
struct ServiceLimits {
  // Streams of bytes at once, each with one or two chunks of 1 MiB in memory. A user needs no more of them
  // than a few, and holds each for as long as the user's line takes.
  int uploads = 24;
  int fetches = 24;
  int downloads = 8;
  std::chrono::milliseconds lease_wait{20'000};  // of a Lease without work
};

struct ServerOptions {
  std::filesystem::path state_directory = {};
  std::string listen = {};  // HOST:PORT; port 0: one that is free
  bool reflection = false;
  std::ostream* log = nullptr;  // where log lines go too; nothing but the server's end waits for it
  Options scheduling = {};
  ServiceLimits limits = {};
};

// Thread-safe but for construction and destruction.
class Server {
 public:
  // Serves when it returns. A start that fails for its address has not touched the state directory.
  //   FAILED_PRECONDITION  another process has the state directory
  //   UNAVAILABLE          the address cannot be listened on
  //   others               as Store::Open, LogStore::Open and Coordinator::Start
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options);

  // Calls under way end with UNAVAILABLE. The store is left as after a crash, only tidier.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // HOST:PORT, with the port that it has.
  const std::string& address() const { return address_; }

  // Why it can serve no longer; the process should end.
  absl::Status failure() const { return coordinator_->failure(); }

 private:
  Server(std::unique_ptr<Store> store, std::unique_ptr<LogStore> logs, const ServerOptions& options);
  // Those that a kill left between a Delete's commit and the end of its lines.
  void ForgetDeletedRuns();
  absl::Status Listen(const ServerOptions& options);
  void KeepTime();
  void WakeTimer();

  const std::unique_ptr<Store> store_;
  const std::unique_ptr<LogStore> logs_;
  const std::unique_ptr<LogWriter> log_writer_;
  Log log_;
  std::unique_ptr<Coordinator> coordinator_;

  Mutex mutex_;
  std::condition_variable_any woken_;
  bool is_woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_stopping_ ABSL_GUARDED_BY(mutex_) = false;

  Slots uploads_, fetches_, downloads_;
  OpenStreams streams_;
  std::unique_ptr<WorkPool> calls_, bytes_;
  std::unique_ptr<LeaseQueue> leases_;
  std::unique_ptr<WorkerService> worker_service_;
  std::unique_ptr<RunService> run_service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  std::thread timer_;
};

}  // namespace retort::orchestrator
