// How much memory training takes, from a job and its teacher's shape: what a worker says before it loads,
// what the orchestrator plans with and `retort inspect` shows. Estimates; float32 throughout. Pure
// arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>

#include "retort/v1/job.pb.h"
#include "retort/v1/work.pb.h"
#include "retort/v1/worker_service.pb.h"

namespace retort {

// Elements of matrices; norms, biases and convolutions are a thousandth of them.
struct ModelParameters {
  uint64_t embedding = 0;
  uint64_t head = 0;  // 0 when it is the embedding
  uint64_t teacher_block = 0;
  uint64_t mlp = 0;           // of a block
  uint64_t mixer = 0;         // of a student's converted layer
  uint64_t mixer_matrix = 0;  // of the mixer what stage 1 trains: B, C and dt or a
};
ModelParameters CountParameters(const v1::JobSpec& job, const v1::ModelShape& shape);

// Bytes of one worker.
struct MemoryNeed {
  uint64_t process = 0;  // libraries, thread stacks, buffers
  uint64_t teacher = 0;
  uint64_t student = 0;      // its own tensors; those that it shares are the teacher's
  uint64_t optimizer = 0;    // gradients and two moments of what trains
  uint64_t checkpoint = 0;   // a copy of what is saved
  uint64_t activations = 0;  // of a forward and a backward pass over a micro-batch
  uint64_t relay = 0;  // boundaries that are kept for the worker above and pulled ahead from the one below

  // While a checkpoint is sent, the next one is copied or a pass is made. `teacher_part`: of the teacher's
  // weights, where a machine has them in memory once for several workers.
  uint64_t peak(double teacher_part = 1) const;
};

// Of a slice of stage 1 or 2 with `layers` converted layers up to `last_layer`: the teacher up to there, and
// one layer's pass at a time, which is the least.
MemoryNeed SliceMemory(const v1::JobSpec& job, const v1::ModelShape& shape, v1::Stage stage,
                       uint32_t last_layer, size_t layers);

// How many layers of a slice, for which a worker plans `planned_bytes`, may run their passes side by side on
// `threads` threads. `need` and the plan count one; each other one is let into what is left of `memory_bytes`
// where there is room for two, as these are estimates.
uint64_t LayersSideBySide(const MemoryNeed& need, uint64_t planned_bytes, uint64_t memory_bytes,
                          uint64_t threads);

// Of one of the `ranks` of END_TO_END: teacher and student whole, a pass of its part of a micro-batch through
// all layers or the result's bytes.
MemoryNeed EndToEndMemory(const v1::JobSpec& job, const v1::ModelShape& shape, uint64_t ranks);

// How much counts for one worker of the weights of a teacher that a machine has in memory once for several:
// its part of the machine's memory, so that all of them come to the whole. 1: it has its own.
double TeacherPart(const v1::Capabilities& capabilities);

// Of what workers of one machine share in stages 1 and 2: up to the job's last converted layer.
uint64_t SharedTeacherBytes(const v1::JobSpec& job, const v1::ModelShape& shape);

// What a slice of stage 1 or 2 takes of a worker for which `teacher_part` of `shared_teacher_bytes` counts.
// 1: it has no more of the teacher than it needs. `own_bytes` are `bytes` without the teacher.
inline double BytesOn(double teacher_part, double shared_teacher_bytes, double bytes, double own_bytes) {
  return teacher_part < 1 ? own_bytes + teacher_part * shared_teacher_bytes : bytes;
}

}  // namespace retort
