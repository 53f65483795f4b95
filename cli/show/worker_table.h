// `retort workers` for people.
#pragma once

#include <cstdint>
#include <string>

#include "retort/v1/run_service.pb.h"

namespace retort {

// A row per worker; `wide` adds what it is and why it is idle.
std::string RenderWorkers(const v1::ListWorkersReply& reply, bool wide, int64_t now_unix_ms);

}  // namespace retort
