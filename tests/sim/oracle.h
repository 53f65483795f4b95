// What must hold whatever happens, checked after every event that can break it. It knows the truth that the
// processes do not: the one clock, both sides' states, and what an undisturbed run would have.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/store/store.h"
#include "orchestrator/state/options.h"
#include "orchestrator/state/state.h"
#include "tests/sim/chain.h"
#include "tests/sim/world.h"

namespace retort::sim {

class Oracle {
 public:
  Oracle(World& world, const orchestrator::Options& options, uint32_t teacher_layers)
      : world_(world), options_(options), teacher_layers_(teacher_layers) {}

  // A call that was answered, and the states before and after it. `claim`: who called under which token; 0:
  // nobody, time did it.
  struct Claim {
    std::string call;
    uint64_t worker_id = 0;
    uint64_t token = 0;
  };
  // `steady_ms`: the orchestrator's clock.
  void OnChange(const Claim& claim, int64_t steady_ms, const orchestrator::State& before,
                const orchestrator::State& after);
  // An answer that a correct caller that waited for it must never get.
  void OnAnswer(const std::string& call, bool is_awaited, const absl::Status& status);
  // A user's call: the first reply is the reply.
  void OnUserAnswer(const std::string& request_id, const absl::Status& status, const std::string& reply);

  // A checkpoint that counts now, or still does after a start: it can be read, and has the right bytes.
  void CheckManifest(Store& store, const ManifestKey& key, const orchestrator::State& state);

  // A start on what a crash left. `is_exact`: nothing was being written when it came.
  void OnStart(Store& store, const orchestrator::State& before, const orchestrator::State& loaded,
               bool is_exact);

  // BeginPublish was accepted.
  void OnBegun(const v1::BeginPublishRequest& request, const orchestrator::State& state);

  // The orchestrator has granted the lease, or renewed it by an answer: it lasts until then by the one clock.
  void OnGranted(uint64_t token, int64_t until_ms) { lasts_until_ms_[token] = until_ms; }
  void OnRenewed(uint64_t token, int64_t until_ms, const orchestrator::State& state);
  void OnOrchestratorUp(int64_t grace_until_ms);
  // A worker begins a step under the token.
  void OnStepBegins(const std::string& worker, uint64_t token);

  Undisturbed& UndisturbedOf(const orchestrator::Run& run);

 private:
  // Leases that time has ended, and not a yield's end: not before they were over.
  void CheckExpiries(const orchestrator::State& before, const orchestrator::State& after, int64_t steady_ms);
  int64_t LastsUntilMs(uint64_t token) const;
  void CheckRowChange(const Claim& claim, const orchestrator::State& before, const v1::TaskRecord& was,
                      const v1::TaskRecord& is);

  World& world_;
  const orchestrator::Options options_;
  const uint32_t teacher_layers_;
  std::map<uint64_t, int64_t> lasts_until_ms_;  // by token
  int64_t grace_until_ms_ = 0;                  // of every lease, after a start
  std::map<std::string, std::string> first_replies_;
  std::map<uint64_t, std::unique_ptr<Undisturbed>> undisturbed_;  // by run
};

// All tensors of a kept checkpoint.
absl::StatusOr<SavedLayer> ReadSaved(Store& store, const ManifestKey& key);

}  // namespace retort::sim
