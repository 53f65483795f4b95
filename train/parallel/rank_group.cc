#include "train/parallel/rank_group.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/status_macros.h"
#include "model/lm/torch_seam.h"
#include "train/parallel/rendezvous_store.h"

namespace retort {

struct RankGroup::Backend {
  c10::intrusive_ptr<c10d::ProcessGroup> group;
};

namespace {

// What LibTorch throws here is the peers' or the network's doing.
template <typename Body>
absl::Status AmongPeers(const std::string& doing, const RankPlace& place, Body body) {
  const absl::Status status = CatchTorch(doing, [&] {
    body();
    return absl::OkStatus();
  });
  if (!absl::IsInternal(status)) return status;
  return absl::UnavailableError(
      absl::StrCat("rank ", place.rank, " of ", place.world_size, ": ", status.message()));
}

c10::intrusive_ptr<c10d::ProcessGroup> ConnectByGloo(const RankPlace& place,
                                                     std::shared_ptr<Rendezvous> rendezvous) {
  const auto store = c10::make_intrusive<RendezvousStore>(std::move(rendezvous), place.timeout);
  const auto options = c10d::ProcessGroupGloo::Options::create(place.timeout);
  options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(place.address));
  // One at a time: beside them the rank computes.
  options->threads = 1;
  const auto gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(store, place.rank, place.world_size, options);
  const auto group = c10::make_intrusive<c10d::ProcessGroup>(store, place.rank, place.world_size);
  group->setBackend(c10::DeviceType::CPU, c10d::ProcessGroup::BackendType::GLOO, gloo);
  group->setDefaultBackend(c10d::ProcessGroup::BackendType::GLOO);
  return group;
}

std::string AddressKey(int rank) { return absl::StrCat("address/", rank); }

// "rank 0 is at 10.0.0.1, rank 1 at 10.0.0.2".
std::string AddressesText(const RankPlace& place, Rendezvous& rendezvous) {
  std::vector<std::string> keys, parts;
  for (int rank = 0; rank < place.world_size; ++rank) keys.push_back(AddressKey(rank));
  const auto addresses = rendezvous.Get(keys);
  if (!addresses.ok()) return std::string(addresses.status().message());
  for (int rank = 0; rank < place.world_size; ++rank) {
    parts.push_back(absl::StrCat("rank ", rank, rank == 0 ? " is at " : " at ",
                                 (*addresses)[rank].value_or("an address that it has not said yet")));
  }
  return absl::StrJoin(parts, ", ");
}

void SumNow(c10d::ProcessGroup& group, at::Tensor& tensor, c10d::ReduceOp::RedOpType operation) {
  std::vector<at::Tensor> tensors = {tensor};
  c10d::AllreduceOptions options;
  options.reduceOp = operation;
  group.allreduce(tensors, options)->wait();
}

}  // namespace

RankGroup::RankGroup(const RankPlace& place, std::unique_ptr<Backend> backend)
    : place_(place), backend_(std::move(backend)) {}
RankGroup::~RankGroup() = default;

absl::StatusOr<std::unique_ptr<RankGroup>> RankGroup::Connect(const RankPlace& place,
                                                              std::shared_ptr<Rendezvous> rendezvous) {
  // For messages alone: what fails here makes connecting fail too, which says why.
  rendezvous->Set(AddressKey(place.rank), place.address).IgnoreError();
  auto backend = std::make_unique<Backend>();
  const absl::Status status =
      AmongPeers("connecting the ranks", place, [&] { backend->group = ConnectByGloo(place, rendezvous); });
  if (!status.ok()) {
    return absl::Status(status.code(),
                        absl::StrCat(status.message(), " (", AddressesText(place, *rendezvous), ")"));
  }
  std::unique_ptr<RankGroup> group(new RankGroup(place, std::move(backend)));
  ASSIGN_OR_RETURN(const auto timeouts_ms, group->Gather({place.timeout.count()}));
  const int64_t longest_ms = (*std::max_element(timeouts_ms.begin(), timeouts_ms.end()))[0];
  group->process_group().setTimeout(std::chrono::milliseconds(longest_ms));
  return group;
}

c10d::ProcessGroup& RankGroup::process_group() { return *backend_->group; }

absl::Status RankGroup::Sum(at::Tensor& tensor) {
  return AmongPeers("summing over the ranks", place_,
                    [&] { SumNow(*backend_->group, tensor, c10d::ReduceOp::SUM); });
}

absl::StatusOr<Ballot> RankGroup::Vote(Ballot ballot) {
  at::Tensor lowest = at::full({1}, static_cast<int64_t>(ballot), at::kLong);
  RETURN_IF_ERROR(
      AmongPeers("voting", place_, [&] { SumNow(*backend_->group, lowest, c10d::ReduceOp::MIN); }));
  return static_cast<Ballot>(lowest.item<int64_t>());
}

absl::StatusOr<std::vector<std::vector<int64_t>>> RankGroup::Gather(const std::vector<int64_t>& numbers) {
  const auto size = static_cast<int64_t>(numbers.size());
  std::vector<at::Tensor> own = {at::tensor(numbers, at::kLong)};
  std::vector<std::vector<at::Tensor>> all(1);
  for (int r = 0; r < place_.world_size; ++r) all[0].push_back(at::empty({size}, at::kLong));
  RETURN_IF_ERROR(
      AmongPeers("gathering from the ranks", place_, [&] { backend_->group->allgather(all, own)->wait(); }));
  std::vector<std::vector<int64_t>> gathered;
  for (const at::Tensor& of_rank : all[0]) {
    const int64_t* const first = of_rank.const_data_ptr<int64_t>();
    gathered.emplace_back(first, first + size);
  }
  return gathered;
}

absl::Status RankGroup::Broadcast(const std::vector<at::Tensor>& tensors, int root) {
  return AmongPeers("taking over a rank's state", place_, [&] {
    for (const at::Tensor& tensor : tensors) {
      std::vector<at::Tensor> one = {tensor};
      c10d::BroadcastOptions options;
      options.rootRank = root;
      backend_->group->broadcast(one, options)->wait();
    }
  });
}

}  // namespace retort
