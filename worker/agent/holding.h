// A slice as its worker knows it: which layers it still holds, where each stands, what was asked back, and
// what follows from that: what to load, copy, drop, give back and complete. Deterministic; not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "retort/v1/worker_service.pb.h"
#include "worker/agent/slice_work.h"

namespace retort {

// What the orchestrator, or the worker's own end, wants of a layer.
enum class Wish {
  kTrain,
  kYield,  // publish what it has, then give it back
  kStop,   // give it back as it is
};

struct HeldLayer {
  uint64_t step = 0;  // steps applied
  uint64_t total_steps = 0;
  uint64_t published_step = 0;
  uint64_t copied_step = 0;  // of a copy that is not published yet; 0: there is none
  bool in_work = false;      // the SliceWork has it, or is being loaded with it
  bool is_going = false;     // it trains no more and is given back, whatever is wished later
  Wish wish = Wish::kTrain;
  v1::EndCause cause = v1::END_CAUSE_UNSPECIFIED;  // of the wish
  double loss = 0;                                 // of the last step taken here
  double seconds_per_step = 0;                     // as last reported
  double seconds = 0;                              // since then
  uint64_t steps = 0;
};

class Holding {
 public:
  explicit Holding(v1::Slice slice);

  const v1::Slice& slice() const { return slice_; }
  uint64_t token() const { return slice_.token(); }
  bool is_prepare() const { return slice_.stage() == v1::STAGE_PREPARE; }
  bool is_end_to_end() const { return slice_.stage() == v1::STAGE_END_TO_END; }
  // A rank above 0: it copies, publishes and completes nothing, and stays until it is told to go.
  bool is_other_rank() const { return is_end_to_end() && slice_.layers(0).layer() != 0; }
  const std::map<uint32_t, HeldLayer>& layers() const { return layers_; }
  std::vector<uint32_t> Numbers() const;
  uint64_t slowest_step() const;  // of the layers held; 0 without any

  // Wishes.
  void ObeyVerdict(const v1::LeaseVerdict& verdict);
  void YieldAll(v1::EndCause cause);  // those that are not asked back yet
  bool AllAskedBack() const;

  // Work. BeginLoad: `slice()` with the layers that have something left to train. OnLoadEnd says whether they
  // are in the work now.
  bool NeedsLoad() const;
  v1::Slice BeginLoad();
  void OnLoadEnd(int64_t now_ms, bool is_loaded);
  bool NeedsWork() const;  // whether the SliceWork has anything left to do
  bool CanStep() const;
  void OnStep(int64_t now_ms, const StepReport& report);
  bool CanMakeResult() const;
  void OnResultMade() { is_result_made_ = true; }
  bool is_prepared() const { return is_prepared_; }
  void OnPrepared() { is_prepared_ = true; }

  // Layers that the work shall go on without, with what to copy of them first. They go from then on.
  struct Departure {
    std::vector<uint32_t> copy, drop;
  };
  Departure BeginDeparture();
  void OnDeparted(const std::vector<uint32_t>& dropped);
  // Layers to copy while training goes on: those at their last step, and, when the interval has come, all
  // that have trained since their last copy.
  std::vector<uint32_t> BeginCopy();
  void OnCopied(const std::vector<SavedLayer>& saved);
  // A copy that will not be published. Not for one that IsNeeded.
  void ForgetCopy(uint32_t layer);
  void MakeCopyDue() { is_interval_due_ = true; }
  // Whether this copy alone has what a layer that goes must publish.
  bool IsNeeded(const SavedLayer& copy) const;

  // Publishes.
  bool NeedsPublish(uint32_t layer) const;  // its copy still is to be published
  bool MustPublish(uint32_t layer) const;   // it waits for that
  void OnPublished(const v1::BeginPublishRequest& publish);

  // Ends. Layers that can be given back now, all of one cause; those that can be completed.
  struct GiveBack {
    std::vector<uint32_t> layers;
    v1::EndCause cause = v1::END_CAUSE_UNSPECIFIED;
  };
  GiveBack ToGiveBack() const;
  std::vector<uint32_t> ToComplete() const;
  void OnGone(const std::vector<uint32_t>& layers);

  // For heartbeats: what is held, with rates since the last call.
  void Report(v1::SliceProgress& progress);

 private:
  // Took its last step, and nothing but publishing and completing is left to do.
  bool IsFinished(const HeldLayer& layer) const;
  bool IsPublished(const HeldLayer& layer) const;
  bool IsTrainable(const HeldLayer& layer) const;
  // Of checkpoints, after the step that ended now.
  bool HasIntervalPassed(int64_t now_ms);
  bool HasCopy(const HeldLayer& layer) const;  // of all its steps

  v1::Slice slice_;
  std::map<uint32_t, HeldLayer> layers_;
  std::vector<uint32_t> gone_in_work_;  // not held any more; the work has them
  bool is_interval_due_ = false;        // a publish is
  int64_t interval_began_ms_ = 0;       // when the work was loaded, or the last interval had passed
  bool is_prepared_ = false;
  bool is_result_made_ = false;
  bool is_result_published_ = false;
  double teacher_seconds_per_step_ = 0;
  double teacher_seconds_ = 0;
  uint64_t teacher_steps_ = 0;
  uint64_t received_bytes_ = 0;
  double receive_seconds_ = 0;
};

}  // namespace retort
