// A simulated process's part in the relay, as far as it decides when steps are taken: whom it pulls from, how
// far ahead it may train, what others get from it. Activations are no bytes here, for they cannot be wrong:
// the oracle has the checkpoints. docs/protocol.md has the rules; worker/relay keeps them with real tensors.
#pragma once

#include <cstdint>
#include <optional>

#include "retort/v1/worker_service.pb.h"
#include "tests/sim/chain.h"

namespace retort::sim {

class SimRelay {
 public:
  // A slice of stage 1 or 2 was loaded; its run is served from now on, also after the slice.
  void BeginSlice(const v1::Slice& slice);
  void EndSlice() { trains_ = false; }
  void Clear() { run_id_ = 0; }  // nothing is served any more
  void TakeOrders(uint64_t token, const v1::RelayOrders& orders);

  // Where the slice stands: the batch that it trains on next.
  void SetPlace(const ChainWork& work);
  uint64_t step() const { return step_; }
  // Whether those above have come near enough.
  bool MayTrain() const;
  // Whom to ask for the batch's input; nullopt: it recomputes.
  std::optional<v1::RelayUpstream> upstream() const;

  enum class Answer {
    kAtHand,
    kComes,      // training comes to it: ask again
    kByTeacher,  // made for whoever asks, apart from training
    kNotLoaded,  // recompute
  };
  // What this process says to `puller` above it.
  Answer AnswerTo(const SimRelay& puller, uint32_t boundary) const;

  // What came, for heartbeats.
  void CountHop(double seconds);
  void Report(StepReport& report) const;

 private:
  bool trains_ = false;
  uint64_t run_id_ = 0;  // that is served; 0: none
  v1::Stage stage_ = v1::STAGE_UNSPECIFIED;
  bool pulls_ = false;
  int64_t lead_steps_ = 0;
  uint64_t step_ = 0;
  uint32_t highest_layer_ = 0;
  uint64_t orders_token_ = 0;
  v1::RelayOrders orders_;
  std::optional<v1::RelayUpstream> upstream_;
  uint64_t received_bytes_ = 0;
  double receive_seconds_ = 0;
};

}  // namespace retort::sim
