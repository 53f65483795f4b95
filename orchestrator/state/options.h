// Every number that the scheduler's decisions depend on and no user sets. What leaves the orchestrator (the
// lease rules in RegisterReply) is read from here too. docs/protocol.md explains the lease rules.
#pragma once

#include <cstdint>

namespace retort::orchestrator {

// Whether slices pull their input from the worker below (a relay) or recompute it.
enum class RelayPolicy {
  kAuto,    // as is faster by what was measured
  kAlways,  // wherever somebody has the layers below, as if it cost nothing
  kNever,
};

struct Options {
  // Lease rules.
  int64_t heartbeat_interval_ms = 2'000;
  int64_t lease_ttl_ms = 20'000;  // at least 4 heartbeats; also how long a silent worker stays registered
  int64_t lease_margin_ms = 5'000;
  int64_t yield_within_ms = 30'000;  // from the first heartbeat's reply that asks

  // Of a collective of stage 3 at least; where four steps take longer, that. A rank that stands still for
  // longer has left its generation. Less than the part of a worker's grace in which the step under way may
  // end (worker/agent), so that a rank whose peer hangs saves what it has.
  int64_t gang_timeout_ms = 10'000;
  // How long stage 3 waits for a rank that it was planned with and whose worker has gone, before it begins
  // with fewer (where the job leaves their number open). No less than lease_ttl_ms: whoever still has a rank
  // by then has said since whether it took a step.
  int64_t gang_patience_ms = 20'000;

  int64_t request_keep_ms = 48 * 3'600'000LL;  // of request ids, by the wall clock

  // How many attempts of a task may be lost to each cause: the one that makes it so many fails the task. A
  // job's fault does not go away by itself. But a loss that is not a number, or an exception of LibTorch, may
  // also be a fault of the machine, from which one repetition tells it. PREPARE mostly reads: its first one
  // counts.
  uint32_t user_error_budget = 2;
  uint32_t infrastructure_budget = 10;
  uint32_t preemption_budget = 100;
  // The n-th loss to a cause waits first * 2^(n-1), at most max, times a random factor from 1/2 to 1.
  int64_t backoff_first_ms = 1'000;
  int64_t backoff_max_ms = 60'000;

  // A worker that lacked an input of a run is asked again after this: somebody may have put the file there.
  // Long beside an attempt, which reads and hashes the inputs that are there; short beside a user's patience.
  int64_t refusal_keep_ms = 180'000;

  // A re-cut must shorten the run's stages 1 and 2 by more than its cost and by more than this part of what
  // they would take without it.
  double recut_min_gain = 0.1;
  int64_t recut_cost_ms = 15'000;      // what moving layers takes: publish, fetch, load
  int64_t recut_interval_ms = 60'000;  // between two of one run, so that what the first one did can be seen
  int64_t replan_interval_ms = 200;    // between two plans however much happens
  int64_t rebalance_interval_ms = 30'000;  // a plan is made anew so often when nothing happens

  // Used where nothing is measured: the part of measured_gflops that training reaches (0.7 to 0.85 for the
  // quickstart's stages on one AVX-512 core), and the speed and memory of a worker for plans made when none
  // is registered.
  double assumed_efficiency = 0.8;
  double assumed_gflops = 100;

  // The relay's cost to the worker that receives, until a slice has measured it: what gRPC was seen to stream
  // on one core, halved, and a call's own part.
  RelayPolicy relay = RelayPolicy::kAuto;
  double hop_bytes_per_second = 150e6;
  double hop_seconds = 1e-3;  // a micro-batch
};

}  // namespace retort::orchestrator
