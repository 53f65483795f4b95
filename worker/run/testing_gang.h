// For tests and benchmarks that load slices without an orchestrator.
#pragma once

#include <string>

#include "worker/agent/slice_work.h"

namespace retort {

// Of a slice that trains alone.
class NoGang final : public GangCalls {
 public:
  absl::StatusOr<v1::JoinGangReply> JoinGang(uint64_t) override { return Never(); }
  absl::StatusOr<v1::RendezvousReply> Rendezvous(v1::RendezvousRequest) override { return Never(); }
  uint64_t reform_generation() const override { return 0; }
  absl::StatusOr<std::string> Host() const override { return Never(); }

 private:
  static absl::Status Never() {
    return absl::UnimplementedError("a slice that trains alone asked for others");
  }
};

}  // namespace retort
