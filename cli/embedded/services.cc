#include "cli/embedded/services.h"

#include <signal.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "cli/client/orchestrator.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

namespace fs = std::filesystem;

constexpr double kPollSeconds = 0.01;
constexpr double kOrchestratorStopSeconds = 20;
constexpr double kBeyondGraceSeconds = 5;

}  // namespace

Services::Services(ServicesOptions options, std::function<void(const std::string&)> on_note)
    : options_(std::move(options)), on_note_(std::move(on_note)) {}

absl::Status Services::Start(Service& service) const {
  ASSIGN_OR_RETURN(Child child, Child::Start(service.argv, service.log_file));
  service.child.emplace(std::move(child));
  return absl::OkStatus();
}

absl::StatusOr<std::string> Services::StartOrchestrator(const std::function<bool()>& go_on) {
  const fs::path address_file = options_.state_dir / "address";
  std::error_code ignored;
  fs::remove(address_file, ignored);
  orchestrator_ = {.name = "retort-orchestrator",
                   .argv = {(options_.bin_dir / "retort-orchestrator").string(), "serve", "--state",
                            (options_.state_dir / "store").string(), "--listen", "127.0.0.1:0",
                            "--address-file", address_file.string()},
                   .log_file = options_.state_dir / "orchestrator.log"};
  RETURN_IF_ERROR(Start(orchestrator_));
  while (!fs::exists(address_file, ignored)) {
    if (!go_on()) return absl::CancelledError("interrupted while the orchestrator started");
    RETURN_IF_ERROR(LookAfter(orchestrator_));
    WaitSeconds(kPollSeconds);
  }
  ASSIGN_OR_RETURN(std::string address, ReadFile(address_file));
  address = std::string(absl::StripAsciiWhitespace(address));
  orchestrator_.argv[5] = address;  // one that is started again has to be found by those that are there
  return address;
}

absl::Status Services::StartWorkers(int count, int threads_per_worker, uint64_t memory_bytes_per_worker) {
  for (int i = 1; i <= count; ++i) {
    Service worker = {
        .name = absl::StrCat("worker-", i),
        .argv = {(options_.bin_dir / "retort-worker").string(), "--orchestrator", orchestrator_.argv[5],
                 "--name", absl::StrCat("worker-", i), "--threads", absl::StrCat(threads_per_worker),
                 "--memory", absl::StrCat(memory_bytes_per_worker), "--grace",
                 absl::StrCat(options_.grace_seconds)},
        .log_file = options_.state_dir / absl::StrCat("worker-", i, ".log")};
    if (count > 1) {
      worker.argv.insert(worker.argv.end(), {"--share-weights", (options_.state_dir / "weights").string()});
    }
    for (const fs::path& root : options_.roots)
      worker.argv.insert(worker.argv.end(), {"--root", root.string()});
    RETURN_IF_ERROR(Start(worker));
    workers_.push_back(std::move(worker));
  }
  return absl::OkStatus();
}

absl::Status Services::LookAfter(Service& service) {
  const double now = MonotonicSeconds();
  if (!service.child) return now >= service.start_at_seconds ? Start(service) : absl::OkStatus();
  const std::optional<ChildEnd> end = service.child->Ended();
  if (!end) return absl::OkStatus();
  service.child.reset();
  const ChildVerdict verdict =
      JudgeEnd(service.name, service.log_file.string(), *end, service.failures_in_a_row, DrawRandom());
  RETURN_IF_ERROR(verdict.error);
  service.failures_in_a_row = verdict.failures_in_a_row;
  service.start_at_seconds = now + verdict.wait_seconds;
  on_note_(absl::StrFormat("%s ended with %s; starting it again in %.1f s", service.name, EndText(*end),
                           verdict.wait_seconds));
  return absl::OkStatus();
}

absl::Status Services::Tick() {
  RETURN_IF_ERROR(LookAfter(orchestrator_));
  for (Service& worker : workers_) RETURN_IF_ERROR(LookAfter(worker));
  return absl::OkStatus();
}

void Services::Stop(std::vector<Service*> services, double limit_seconds) {
  for (Service* service : services) {
    if (service->child) service->child->Signal(SIGTERM);
  }
  const double end = MonotonicSeconds() + limit_seconds;
  for (Service* service : services) {
    while (service->child && !service->child->Ended()) {
      if (MonotonicSeconds() >= end) {
        on_note_(absl::StrCat(service->name, " did not end in time and is killed"));
        break;
      }
      WaitSeconds(kPollSeconds);
    }
    service->child.reset();
  }
}

void Services::StopWorkers() {
  std::vector<Service*> workers;
  for (Service& worker : workers_) workers.push_back(&worker);
  Stop(workers, options_.grace_seconds + kBeyondGraceSeconds);
}

void Services::StopOrchestrator() { Stop({&orchestrator_}, kOrchestratorStopSeconds); }

}  // namespace retort
