// `retort list` and `retort get` for people. Pure: the same message and time give the same text.
#pragma once

#include <cstdint>
#include <string>

#include "retort/v1/run_service.pb.h"

namespace retort {

// A row per run. `wide` adds priority, times and the reason of the state.
std::string RenderRuns(const v1::ListReply& reply, bool wide, int64_t now_unix_ms);

// The run, its tasks, and what failed last in each; `wide` adds its attempts.
std::string RenderRun(const v1::GetReply& reply, bool wide, int64_t now_unix_ms);

// "tiny (id 3): running, 45 % done, about 3m12s left, 2 workers".
std::string RunHeadline(const v1::RunSummary& run);

}  // namespace retort
