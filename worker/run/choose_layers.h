// PREPARE's part for a job with keep_attention: {auto: K}: which layers stay attention.
#pragma once

#include <atomic>

#include "absl/status/statusor.h"
#include "core/base/log.h"
#include "retort/v1/worker_service.pb.h"
#include "worker/run/run_material.h"

namespace retort {

// Probes the teacher of a slice of PREPARE whose job awaits it; progress and choice go to `log`. Takes
// minutes. FAILED_PRECONDITION when the probe does not fit `memory_bytes`; INTERNAL when training fails;
// CANCELLED soon after `stop` is set.
absl::StatusOr<v1::ProbedLayers> ChooseLayers(const v1::Slice& slice, const v1::ModelShape& shape,
                                              uint64_t memory_bytes, RunMaterial& material, Log& log,
                                              const std::atomic<bool>& stop);

}  // namespace retort
