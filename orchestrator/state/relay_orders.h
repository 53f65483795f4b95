// The relay between a run's slices of stages 1 and 2: whose input is pulled, from whom, and how far those
// above are.
#pragma once

#include <cstdint>

#include "orchestrator/state/draft.h"
#include "retort/v1/worker_service.pb.h"

namespace retort::orchestrator {

// Where a slice that is about to be granted to the worker takes its input from: RELAY when another worker has
// layers below `first_layer`, or shall have them by the plan, and pulling pays.
v1::InputSource ChooseInput(const Draft& draft, uint64_t run_id, uint64_t worker_id, v1::Stage stage,
                            uint32_t first_layer);

// What the holder of `lease` is to know. Workers count too that the plan sees below or above and that hold
// nothing yet: they come in the next moment.
v1::RelayOrders RelayOrdersOf(const Draft& draft, const Lease& lease);

}  // namespace retort::orchestrator
