// What users are shown of runs, workers, attempts and events: RunService's Get, List, Watch and ListWorkers.
// Pure functions of a State and of stored records.
#pragma once

#include "orchestrator/state/options.h"
#include "orchestrator/state/state.h"
#include "retort/v1/run_service.pb.h"

namespace retort::orchestrator {

v1::RunSummary SummaryOf(const Moment& now, const State& state, const Options& options, const Run& run);

v1::RunStatus StatusOf(const Moment& now, const State& state, const Options& options, const Run& run);

v1::ListReply ListRuns(const Moment& now, const State& state, const Options& options,
                       const v1::ListRequest& request);

v1::ListWorkersReply ListWorkers(const Moment& now, const State& state, const Options& options);

v1::Attempt ShowAttempt(const v1::AttemptRecord& record);

v1::Event ShowEvent(const v1::EventRecord& record);

}  // namespace retort::orchestrator
