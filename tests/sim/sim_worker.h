// A worker's process under its supervisor: a real agent, whose calls go over the simulated network and whose
// work is a chain of hashes that takes simulated time. It may be killed, stopped for a while (SIGSTOP: what
// it was about to send goes out later, what comes waits), told to end, and be slow; its clock runs at its own
// rate.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "retort/v1/worker_service.pb.h"
#include "tests/sim/chain.h"
#include "tests/sim/network.h"
#include "tests/sim/oracle.h"
#include "tests/sim/sim_orchestrator.h"
#include "tests/sim/sim_relay.h"
#include "tests/sim/world.h"
#include "worker/agent/agent.h"

namespace retort::sim {

// What goes wrong in it, by chance; per piece of work, or per write.
struct WorkerFaults {
  double machine = 0;      // INFRASTRUCTURE
  double wrong_input = 0;  // WRONG_INPUT
  double late_write = 0;   // stopped for longer than a lease between deciding a write and sending it
};

class SimWorker {
 public:
  struct Profile {
    std::string name;
    double seconds_per_layer = 0.3;  // of a step
    double clock_rate = 1;
    uint32_t teacher_layers = 6;
    int64_t chunk_ms = 10;  // what a chunk takes on its link, at most
    bool serves = false;    // activations
  };
  // By name; of the workers that may pull from each other.
  using Peers = std::map<std::string, SimWorker*>;

  SimWorker(World& world, Network& network, SimOrchestrator& orchestrator, Oracle& oracle, const Peers& peers,
            Profile profile)
      : world_(world),
        network_(network),
        orchestrator_(orchestrator),
        oracle_(oracle),
        peers_(peers),
        profile_(std::move(profile)) {}
  SimWorker(const SimWorker&) = delete;
  SimWorker& operator=(const SimWorker&) = delete;

  const std::string& name() const { return profile_.name; }
  bool is_up() const { return process_ != nullptr; }
  void Start();
  void Kill();  // the supervisor starts another one after a while, while it is asked to
  void Stop(int64_t for_ms);
  void Continue();
  void Terminate(int64_t grace_ms);
  void SetSpeed(double seconds_per_layer) { profile_.seconds_per_layer = seconds_per_layer; }
  void SetFaults(const WorkerFaults& faults) { faults_ = faults; }
  uint64_t token() const;

  // Steps of stages 1 and 2 by where their input came from, over all incarnations.
  struct Inputs {
    uint64_t pulled = 0, by_teacher = 0, recomputed_for_want = 0;  // the last: though it was to be pulled
  };
  const Inputs& inputs() const { return inputs_; }

 private:
  // One incarnation.
  struct Process {
    Process(v1::RegisterRequest registration, uint64_t seed)
        : registration(registration), agent(std::move(registration), seed) {}
    v1::RegisterRequest registration;
    Agent agent;
    int64_t born_ms = 0;
    std::shared_ptr<PendingCall> call;
    std::optional<ChainWork> chain;
    SimRelay relay;
    bool has_lost_upstream = false;  // since its last answer
    uint64_t generation = 0;         // of a gang, that it was last in
    // The piece of work under way.
    uint64_t work_number = 0;
    bool is_working = false;
    bool is_stopping_work = false;
    int64_t next_poke_ms = 0;
  };
  using ProcessPtr = std::shared_ptr<Process>;
  struct Loading {
    v1::Slice slice;
    std::vector<std::pair<v1::CheckpointRef, std::string>> to_fetch;
    std::vector<SavedLayer> fetched;
    int failures = 0;
  };

  // Runs `event` in the process: not if it is gone, later if it is stopped. Then the agent is asked what
  // next.
  void In(const ProcessPtr& process, std::function<void()> event);
  void Poke(const ProcessPtr& process);
  void AskAgent(const ProcessPtr& process);
  void PlanPoke(const ProcessPtr& process);
  int64_t LocalMs(const Process& process) const;
  void Exit(const ProcessPtr& process);

  void Make(const ProcessPtr& process, const AgentCall& call);
  template <class Reply, class Request>
  void Send(const ProcessPtr& process, const std::string& name,
            SimOrchestrator::Method<Reply, Request> method, const Request& request, int64_t deadline_ms);
  void EndCall(const ProcessPtr& process, const absl::Status& status, AgentReply reply);
  void SendHeartbeat(const ProcessPtr& process, const v1::HeartbeatRequest& request);
  void Upload(const ProcessPtr& process, const UploadOrder& order);

  void Begin(const ProcessPtr& process, const Work& work);
  void JoinGang(const ProcessPtr& process);
  void TakeStepOfLayers(const ProcessPtr& process);
  void Pull(const ProcessPtr& process, const v1::RelayUpstream& upstream);
  void TakeRelayOrders(const ProcessPtr& process, const v1::LeaseVerdict& verdict);
  const SimRelay* FindPeer(const v1::RelayUpstream& upstream);
  void EndWithoutStep(const ProcessPtr& process, int64_t wait_ms);
  void TakeStep(const ProcessPtr& process);
  void EndWorkAfter(const ProcessPtr& process, int64_t wait_ms, std::function<WorkEnd()> end);
  void Load(const ProcessPtr& process, const v1::Slice& slice);
  void FetchNext(const ProcessPtr& process, uint64_t work_number, const std::shared_ptr<Loading>& loading);
  void EndLoad(const ProcessPtr& process, uint64_t work_number, const absl::Status& status,
               const Loading& loading);
  absl::Status DrawFault();

  World& world_;
  Network& network_;
  SimOrchestrator& orchestrator_;
  Oracle& oracle_;
  const Peers& peers_;
  Profile profile_;
  WorkerFaults faults_;
  ProcessPtr process_;
  int64_t stopped_until_ms_ = 0;
  uint64_t stops_ = 0;
  uint64_t incarnations_ = 0;
  Inputs inputs_;
  std::vector<std::pair<ProcessPtr, std::function<void()>>> deferred_;
};

}  // namespace retort::sim
