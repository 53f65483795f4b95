#include "cli/embedded/stuck.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/show/words.h"

namespace retort {

bool IsStuck(const v1::RunStatus& run, const v1::ListWorkersReply& workers, int expected_workers,
             int64_t now_unix_ms) {
  const v1::RunState state = run.summary().state();
  if ((state != v1::RUN_STATE_QUEUED && state != v1::RUN_STATE_RUNNING) || run.summary().workers() > 0)
    return false;
  const bool waits = std::any_of(run.tasks().begin(), run.tasks().end(), [&](const v1::TaskStatus& task) {
    return task.state() == v1::TASK_STATE_LEASED ||
           (task.state() == v1::TASK_STATE_PENDING && task.not_before_unix_ms() > now_unix_ms);
  });
  if (waits || workers.workers_size() != expected_workers) return false;
  return std::all_of(workers.workers().begin(), workers.workers().end(),
                     [](const v1::WorkerStatus& worker) { return worker.state() == v1::WORKER_STATE_IDLE; });
}

absl::Status StuckError(const v1::RunStatus& run, const v1::ListWorkersReply& workers,
                        const std::string& refusal) {
  if (!refusal.empty()) {
    return run.has_numerics() ? absl::FailedPreconditionError(refusal) : absl::DataLossError(refusal);
  }
  std::vector<std::string> differences;
  if (run.has_numerics() && workers.workers_size() > 0) {
    const v1::Numerics& was = run.numerics();
    const v1::WorkerStatus& is = workers.workers(0);
    const auto compare = [&differences](const char* what, const std::string& then, const std::string& now) {
      if (then != now) differences.push_back(absl::StrCat(what, " was ", then, ", is ", now));
    };
    compare("threads", absl::StrCat(was.threads()), absl::StrCat(is.threads()));
    compare("compute_path", Word(was.compute_path()), Word(is.compute_path()));
    compare("device", Word(was.device()), Word(is.device()));
    const std::string& build = is.build_version();  // VERSION+HASH
    compare("its sources' hash", was.numerics_id(), build.substr(build.rfind('+') + 1));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("no worker takes the run: ", run.summary().reason(),
                   differences.empty() ? "" : "; it began otherwise: ", absl::StrJoin(differences, "; ")));
}

}  // namespace retort
