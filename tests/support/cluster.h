// An orchestrator and workers of this build as real processes on loopback, for tests that start, kill and
// restart them.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/base/mutex.h"
#include "retort/v1/run_service.grpc.pb.h"
#include "tests/support/child_process.h"

namespace retort {

// A run's events as they come, from its first, across restarts of the orchestrator. Thread-safe.
class RunHistory {
 public:
  RunHistory(std::string address, uint64_t run_id);
  ~RunHistory();
  RunHistory(const RunHistory&) = delete;
  RunHistory& operator=(const RunHistory&) = delete;

  std::vector<v1::Event> events() const;
  std::vector<v1::Event> OfKind(v1::EventKind kind) const;
  v1::RunStatus status() const;  // the newest snapshot

  // Whether the run has ended within `seconds`.
  bool HasEnded(double seconds) const;

  // One line an event, for messages of failed expectations.
  std::string Render() const;

 private:
  void Follow();
  bool FollowOnce(v1::RunService::Stub& stub);

  const std::string address_;
  const uint64_t run_id_;
  mutable Mutex mutex_;
  std::vector<v1::Event> events_ ABSL_GUARDED_BY(mutex_);
  v1::RunStatus status_ ABSL_GUARDED_BY(mutex_);
  bool over_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ClientContext* watching_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::atomic<bool> stop_ = false;
  std::thread follower_;
};

// Not thread-safe. The destructor kills what still runs and removes the state directory; in a test that has
// failed it shows what the processes said last. What cannot be done
// ends the test program with the orchestrator's or worker's own words.
class Cluster {
 public:
  // Starts an orchestrator. `bin`: where the programs lie. `environment`: NAME=VALUE, of this start only.
  // `arguments`: of each of its starts, besides those that it needs.
  explicit Cluster(std::filesystem::path bin, const std::vector<std::string>& environment = {},
                   std::vector<std::string> arguments = {});
  ~Cluster();

  // Starts the orchestrator again, at the same address on the same state.
  void StartOrchestrator(const std::vector<std::string>& environment = {});
  ChildProcess& orchestrator() { return *orchestrator_; }
  // Ends it with `signal` and waits.
  ProgramEnd EndOrchestrator(int signal);

  // A worker with one compute thread that looks for files in `root`.
  void StartWorker(const std::string& name, const std::filesystem::path& root,
                   const std::vector<std::string>& more_arguments = {},
                   const std::vector<std::string>& environment = {});
  ChildProcess& worker(const std::string& name) { return *workers_.at(name); }
  // Ends it with `signal`, which wakes a stopped one too, and waits.
  ProgramEnd EndWorker(const std::string& name, int signal);
  // With a registration that is alive, as ListWorkers has them.
  size_t registered_workers();

  uint64_t Submit(const v1::JobSpec& job);
  // A succeeded run's files by path.
  std::map<std::string, std::string> Download(uint64_t run_id);

  const std::string& address() const { return address_; }
  const std::filesystem::path& state() const { return state_; }
  v1::RunService::Stub& stub() { return *stub_; }

 private:
  const std::filesystem::path bin_;
  const std::vector<std::string> arguments_;  // of the orchestrator
  std::filesystem::path directory_;           // of this cluster alone
  std::filesystem::path state_;
  std::string address_;  // once it is known
  std::unique_ptr<ChildProcess> orchestrator_;
  std::map<std::string, std::unique_ptr<ChildProcess>> workers_;
  std::unique_ptr<v1::RunService::Stub> stub_;
  int submits_ = 0;
};

}  // namespace retort
