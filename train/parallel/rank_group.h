// One rank among those that train together, in one generation: they connect, reduce and agree until one of
// them fails; then all make a new group. Gloo between CPUs; another backend takes its place in Connect.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "train/parallel/rendezvous.h"

namespace c10d {
class ProcessGroup;
}

namespace retort {

struct RankPlace {
  int rank = 0;
  int world_size = 1;
  std::chrono::milliseconds timeout{0};  // of connecting; of each collective the longest that a rank has
  std::string address = {};              // of this host, as the other ranks reach it
};

// What a rank says before a step's gradients are applied; all do what the lowest ballot says. A rank that
// cannot apply them says nothing and leaves.
enum class Ballot : int64_t { kApplyAndPart, kApply };

// Not thread-safe. All ranks must make the same calls in the same order. Every call fails with UNAVAILABLE
// when a peer has gone, hangs for longer than the timeout, or cannot be reached; the group is then of no use.
// The destructor closes the connections, which ends the others' collectives.
class RankGroup {
 public:
  // Gloo writes to peers that may have gone: the process ignores SIGPIPE. A failure names the ranks'
  // addresses.
  static absl::StatusOr<std::unique_ptr<RankGroup>> Connect(const RankPlace& place,
                                                            std::shared_ptr<Rendezvous> rendezvous);
  ~RankGroup();
  RankGroup(const RankGroup&) = delete;
  RankGroup& operator=(const RankGroup&) = delete;

  int rank() const { return place_.rank; }
  int world_size() const { return place_.world_size; }

  // In place; the order of the sum depends on world size and shape alone.
  absl::Status Sum(at::Tensor& tensor);
  absl::StatusOr<Ballot> Vote(Ballot ballot);
  // Of each rank, in order.
  absl::StatusOr<std::vector<std::vector<int64_t>>> Gather(const std::vector<int64_t>& numbers);
  // `root`'s bytes, into `tensors` of the same shapes everywhere.
  absl::Status Broadcast(const std::vector<at::Tensor>& tensors, int root);

  // For GradientReducer: its collectives run outside of these calls.
  c10d::ProcessGroup& process_group();

 private:
  struct Backend;
  RankGroup(const RankPlace& place, std::unique_ptr<Backend> backend);

  const RankPlace place_;
  const std::unique_ptr<Backend> backend_;
};

}  // namespace retort
