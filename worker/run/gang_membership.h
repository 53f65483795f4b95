// A rank's way into a generation of its gang, and out of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "core/base/log.h"
#include "train/parallel/rank_group.h"
#include "worker/agent/slice_work.h"

namespace retort {

// Not thread-safe. `calls` and `log` outlive it.
class GangMembership {
 public:
  GangMembership(const v1::Gang& gang, GangCalls& calls, Log& log) : gang_(gang), calls_(calls), log_(log) {}

  // Asks for the next generation, for about a second. false: others are missing still, or could not be
  // reached. UNAVAILABLE when they could not be reached for six times the time limit; other errors are not
  // the gang's: CANCELLED, or a bug's.
  absl::StatusOr<bool> Join(const std::atomic<bool>& stop, const LogContext& context);

  // The generation is over, for this rank at least: closes its connections.
  void Leave() { group_.reset(); }

  // Of the run, as far as this rank knows: where it is not elastic the last generation's, for a run may have
  // got fewer ranks since the grant.
  uint32_t world_size() const {
    return gang_.elastic() || formed_ranks_ == 0 ? gang_.world_size() : formed_ranks_;
  }
  RankGroup* group() const { return group_.get(); }    // null: in no generation now
  uint64_t generation() const { return generation_; }  // the last one that this rank was in
  Ballot ballot() const {
    return calls_.reform_generation() >= generation_ ? Ballot::kApplyAndPart : Ballot::kApply;
  }

 private:
  // What Join says when the others could not be reached, and why.
  absl::StatusOr<bool> Unreached(const std::string& why, const LogContext& context);

  const v1::Gang gang_;
  GangCalls& calls_;
  Log& log_;
  uint64_t generation_ = 0;
  uint32_t formed_ranks_ = 0;                      // its
  std::string reason_;                             // why there was none, as logged last
  std::optional<double> unreached_since_seconds_;  // the first of the connects that failed in a row
  std::unique_ptr<RankGroup> group_;
};

}  // namespace retort
