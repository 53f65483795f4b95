// An orchestrator and workers on loopback for one directory, kept alive.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/embedded/child.h"

namespace retort {

struct ServicesOptions {
  std::filesystem::path bin_dir;    // of retort-orchestrator and retort-worker
  std::filesystem::path state_dir;  // exists; gets store/, logs, the orchestrator's address
  std::vector<std::filesystem::path> roots;
  int grace_seconds = 25;  // of a worker after SIGTERM
};

// Used by one thread, the process's first. The destructor kills what still runs.
class Services {
 public:
  // Told what happened to a child; a line without a newline.
  Services(ServicesOptions options, std::function<void(const std::string&)> on_note);

  // Starts the orchestrator and waits until it serves, starting it again where JudgeEnd says so. Returns its
  // address. CANCELLED when `go_on`, asked all the time, says false. FAILED_PRECONDITION and the like: it
  // does not start.
  absl::StatusOr<std::string> StartOrchestrator(const std::function<bool()>& go_on);

  absl::Status StartWorkers(int count, int threads_per_worker, uint64_t memory_bytes_per_worker);

  // Looks after the children; call ten times a second. An error: give up (JudgeEnd).
  absl::Status Tick();

  // SIGTERM to the workers, which save within their grace; kills one that does not end. Then no Tick any
  // more.
  void StopWorkers();
  // The same for the orchestrator.
  void StopOrchestrator();

  int worker_count() const { return static_cast<int>(workers_.size()); }

 private:
  struct Service {
    std::string name;
    std::vector<std::string> argv;
    std::filesystem::path log_file;
    std::optional<Child> child = std::nullopt;
    int failures_in_a_row = 0;
    double start_at_seconds = 0;  // when there is no child
  };

  absl::Status Start(Service& service) const;
  absl::Status LookAfter(Service& service);
  void Stop(std::vector<Service*> services, double limit_seconds);

  const ServicesOptions options_;
  const std::function<void(const std::string&)> on_note_;
  Service orchestrator_;
  std::vector<Service> workers_;
};

}  // namespace retort
