// What this process computes with, as the orchestrator sees it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "absl/status/status.h"
#include "retort/v1/worker_service.pb.h"

namespace retort {

// Sets the compute threads of this process and of every thread that calls UseComputeThreads. Once, before
// anything computes: the number decides bits.
void SetComputeThreads(int threads);

// To be called by each thread before it computes: LibTorch, OpenMP and MKL keep the number per thread.
void UseComputeThreads();

// Takes a fraction of a second: measured_gflops is a measurement. `weights_directory`: where the teacher's
// weights lie that it shares; made, and one that cannot be is none.
v1::Capabilities MeasureCapabilities(
    uint64_t memory_bytes, const std::optional<std::filesystem::path>& weights_directory = std::nullopt);

// What decides the bits of this process. `micro_batch` is the job's.
v1::Numerics NumericsHere(uint32_t micro_batch);

// FAILED_PRECONDITION names each value in which `asked` differs from NumericsHere.
absl::Status CompareNumerics(const v1::Numerics& asked);

}  // namespace retort
