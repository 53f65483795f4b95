// What a worker does with a slice it was granted. The agent (this folder) decides when; worker/run trains,
// the simulator's counterpart only counts. All calls of one object come from one thread, which may change
// between calls. No LibTorch here.
//
// The code of a failure says whose fault it is, and so the lease's EndCause:
//   INVALID_ARGUMENT, INTERNAL     the job's (a loss that is not a number, a hand-over that does not fit):
//   USER_ERROR NOT_FOUND, FAILED_PRECONDITION this worker lacks an input or has another content: WRONG_INPUT
//   CANCELLED                      `stop` was set; nothing is wrong
//   all others                     this machine's (memory, disk, a damaged file), the network's:
//   INFRASTRUCTURE
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "retort/v1/job.pb.h"
#include "retort/v1/work.pb.h"
#include "retort/v1/worker_service.pb.h"

namespace retort {

// One tensor of a checkpoint, or one file of a result, with its bytes: names, types and layout of
// docs/protocol.md.
struct SavedTensor {
  std::string name;
  v1::DataType dtype = v1::DATA_TYPE_UNSPECIFIED;
  std::vector<uint64_t> shape;
  std::string bytes;
};

// A checkpoint of one layer, or of END_TO_END's student, or the result.
struct SavedLayer {
  uint32_t layer = 0;
  uint64_t step = 0;                 // steps applied
  double loss = 0;                   // mean over the steps since the previous copy; result: of the last step
  std::vector<SavedTensor> tensors;  // ascending by name
};

struct LayerStep {
  uint32_t layer = 0;
  uint64_t step = 0;  // steps applied, with this one
  double loss = 0;
  double seconds = 0;  // the layer's own part: loss, backward pass, optimiser; END_TO_END: the whole
                       // step, by the clock; 0: the state is another rank's
};

struct StepReport {
  std::vector<LayerStep> layers;  // those that trained, ascending
  double teacher_seconds = 0;     // one teacher block's forward passes, mean over the blocks that ran
  // Since the load: the fastest micro-batch from the worker below (SliceProgress).
  uint64_t received_bytes = 0;
  double receive_seconds = 0;
};

// The orchestrator's checkpoints, as FetchCheckpoint gives them, checked for the slice's identity.
class CheckpointSource {
 public:
  virtual ~CheckpointSource() = default;

  // Only tensors whose name begins with the prefix. An error ends the load and is handed on as it is.
  virtual absl::StatusOr<SavedLayer> Fetch(const v1::CheckpointRef& checkpoint,
                                           std::string_view name_prefix) = 0;
};

// What a rank of END_TO_END asks of the orchestrator under its slice's lease; WorkerService has the rules and
// codes. CANCELLED when the work shall be broken off.
class GangCalls {
 public:
  virtual ~GangCalls() = default;

  virtual absl::StatusOr<v1::JoinGangReply> JoinGang(uint64_t after_generation) = 0;
  // `request` with generation and operation.
  virtual absl::StatusOr<v1::RendezvousReply> Rendezvous(v1::RendezvousRequest request) = 0;
  // Of the newest verdict.
  virtual uint64_t reform_generation() const = 0;
  // Of this machine, as other workers reach it. UNAVAILABLE when it is not known now.
  virtual absl::StatusOr<std::string> Host() const = 0;
};

class SliceWork {
 public:
  virtual ~SliceWork() = default;

  // The next batch: the lowest next step among the layers that are held and not at their last step (there is
  // one); the layers whose next step that is train on it. A report without layers: it was not the slice's
  // turn yet, within a second or so; ask again. After an error no layer has applied it. CANCELLED soon after
  // `stop` is set. A rank of END_TO_END may come out several steps further, with another's state, and one
  // other than 0 is asked also at its last step, to hand its state on.
  virtual absl::StatusOr<StepReport> Step(const std::atomic<bool>& stop) = 0;

  // After an error of Step: the layers at fault; empty when it is not one layer's fault.
  virtual std::vector<uint32_t> failed_layers() const = 0;

  // Checkpoints of these held layers as they stand, in memory of their own. Between two steps.
  virtual std::vector<SavedLayer> Copy(const std::vector<uint32_t>& layers) = 0;

  // These layers are no longer held: they train no more.
  virtual void Drop(const std::vector<uint32_t>& layers) = 0;

  // END_TO_END, after the last step: measures the student and makes the RESULT's files. Errors as Step's.
  virtual absl::StatusOr<SavedLayer> MakeResult(const std::atomic<bool>& stop) = 0;
};

// What a load tells while it goes on.
struct LoadProgress {
  v1::SlicePhase phase = v1::SLICE_PHASE_LOADING;  // or MEASURING
  // For the whole slice, as the plan counts it: of a teacher that the machine's workers share this one's part
  // (core/base/job_memory.h). 0: not worked out yet.
  uint64_t planned_memory_bytes = 0;
};

// Everything a worker needs to do its work on this machine.
class Workshop {
 public:
  virtual ~Workshop() = default;

  // PREPARE: finds the job's inputs, hashes them, reads the teacher's shape, and probes its layers where the
  // job says so, which takes minutes.
  virtual absl::StatusOr<v1::PreparedRun> Prepare(const v1::Slice& slice, const std::atomic<bool>& stop) = 0;

  // A slice of a training stage at the steps that it names, loaded from this machine's inputs, which are
  // compared with slice.inputs, and from `source`. `slice`, `gang` and the workshop outlive the result;
  // `source` and `on_progress` are used during the call only.
  virtual absl::StatusOr<std::unique_ptr<SliceWork>> Load(
      const v1::Slice& slice, CheckpointSource& source, GangCalls& gang, const std::atomic<bool>& stop,
      const std::function<void(const LoadProgress&)>& on_progress) = 0;
};

}  // namespace retort
