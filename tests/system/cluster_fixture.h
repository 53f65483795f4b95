// The tiny job, made longer, on a Cluster: what a test of disturbances starts, waits for and compares with.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/support/cluster.h"
#include "tests/system/tiny_run.h"

namespace retort {

using Files = std::map<std::string, std::string>;  // contents by path

// The tiny job with other numbers of steps, and a checkpoint every `interval_steps`.
struct ClusterJob {
  uint64_t orientation_steps = 20;
  uint64_t alignment_steps = 1500;  // lasts for seconds, so that a disturbance can fall into it
  uint64_t interval_steps = 50;
  uint64_t end_to_end_steps = 20;
  uint32_t world_size = 1;
  bool elastic = false;

  v1::JobSpec Spec() const;
  uint64_t StepsOf(v1::Stage stage) const;  // 0: PREPARE
  auto operator<=>(const ClusterJob&) const = default;
};

class ClusterTest : public testing::Test {
 protected:
  // Starts them and waits until no others are registered.
  static void StartWorkers(Cluster& cluster, const std::vector<std::string>& names);
  static void AwaitWorkers(Cluster& cluster, size_t count);

  // What the run left, once it has succeeded.
  static Files ResultOf(Cluster& cluster, const RunHistory& history, uint64_t run_id);

  // The files of a run that one worker, or one for each rank, made without a disturbance; once a job in a
  // test program.
  static const Files& Undisturbed(const ClusterJob& job = {});
  static void ExpectTheUndisturbedStudent(const Files& files, const ClusterJob& job = {});

  // Stops (SIGSTOP) the worker that was granted the first slice of stage 2 between its first and last step,
  // and returns its name; empty: too late. Published steps are old news, so from the grant on the worker runs
  // for a few milliseconds at a time, until its first checkpoint there is published.
  static std::string StopInStageTwo(Cluster& cluster, const RunHistory& history, const ClusterJob& job = {});

  // Whether `event` names a layer between the first and the last step of stage 1 or 2.
  static bool IsMidTraining(const v1::Event& event, const ClusterJob& job = {});
  // The leases of `worker` (empty: of anyone) that ended for `cause` between first and last step.
  static std::vector<v1::Event> EndedMidTraining(const RunHistory& history, const std::string& worker,
                                                 v1::EndCause cause, const ClusterJob& job = {});
  // Whether some layer had published in stage 1 or 2 before that time, and a later step of it after.
  static bool FallsIntoTraining(const RunHistory& history, int64_t unix_ms, const ClusterJob& job = {});
};

}  // namespace retort
