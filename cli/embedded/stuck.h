// When a run of an embedded service will not go on by waiting: nobody else will bring other workers. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "retort/v1/run_service.pb.h"

namespace retort {

// Whether all `expected_workers` are there and idle although nothing of the run is in back-off.
bool IsStuck(const v1::RunStatus& run, const v1::ListWorkersReply& workers, int expected_workers,
             int64_t now_unix_ms);

// Why no worker takes the run; `refusal` is what a worker said of the inputs, or empty. DATA_LOSS where they
// are refused before the run knows what it begins with, so that they are missing or damaged; else
// FAILED_PRECONDITION.
absl::Status StuckError(const v1::RunStatus& run, const v1::ListWorkersReply& workers,
                        const std::string& refusal);

}  // namespace retort
