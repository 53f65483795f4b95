// One history: workers, users and faults drawn from a seed play against the real coordinator and the real
// agents, on a virtual clock. Each seed draws which kinds of faults it has and how many. After a while the
// faults stop, and every run must end.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/network.h"
#include "tests/sim/oracle.h"
#include "tests/sim/sim_orchestrator.h"
#include "tests/sim/sim_worker.h"
#include "tests/sim/world.h"

namespace retort::sim {

// What a history had in it; for whoever doubts that the simulator reaches what it is for.
struct Tally {
  uint64_t succeeded = 0, failed = 0, cancelled = 0;
  uint64_t starts = 0;  // of orchestrators
  uint64_t stale_writes = 0, recuts = 0, yields = 0, expiries = 0, publishes = 0;
  uint64_t fewer_ranks = 0;                                      // runs that began stage 3 with them
  uint64_t pulled = 0, by_teacher = 0, recomputed_for_want = 0;  // SimWorker::Inputs
  int64_t virtual_ms = 0;

  void Add(const Tally& other);
};

class Simulation {
 public:
  Simulation(uint64_t seed, bool is_traced);
  ~Simulation();

  void Run();

  const std::vector<std::string>& violations() const { return world_.violations(); }
  const std::vector<std::string>& trace() const { return world_.trace(); }
  const Tally& tally() const { return tally_; }

 private:
  // Expected number of each kind of fault in the whole time of faults.
  struct Faults {
    double orchestrator_crashes = 0, kills = 0, stops = 0, terms = 0, cuts = 0, drains = 0, questions = 0,
           stragglers = 0, wall_jumps = 0, disk_errors = 0, full_disks = 0;
  };

  static orchestrator::Options DrawOptions(World& world);
  void DrawFaults();
  void AddWorkers();
  void SubmitRuns();
  void Disturb();
  void Mend();
  bool HasEnded() const;
  void CheckEnd();
  void CountEvents();

  // A user's call, repeated until it is answered.
  template <class Reply, class Request>
  void Ask(const std::string& name, SimOrchestrator::Method<Reply, Request> method, Request request);
  template <class Request>
  Request ForRun(uint64_t run_id);
  void AskAboutARun();

  World world_;
  Network network_;
  const orchestrator::Options options_;
  const uint32_t teacher_layers_;
  Oracle oracle_;
  SimOrchestrator orchestrator_;
  std::vector<std::unique_ptr<SimWorker>> workers_;
  SimWorker::Peers peers_;
  Faults faults_;
  int64_t chunk_ms_ = 10;  // of a link, for a chunk
  int64_t faults_end_ms_ = 0;
  uint64_t questions_ = 0;
  uint64_t open_questions_ = 0;
  uint64_t submitted_ = 0;
  Tally tally_;
};

}  // namespace retort::sim
