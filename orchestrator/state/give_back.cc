#include "orchestrator/state/give_back.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "orchestrator/state/callers.h"
#include "orchestrator/state/draft.h"
#include "orchestrator/state/lease_end.h"

namespace retort::orchestrator {
namespace {

constexpr size_t kMessageBytes = 4096;

bool IsFailCause(v1::EndCause cause) {
  return cause == v1::END_CAUSE_USER_ERROR || cause == v1::END_CAUSE_INFRASTRUCTURE ||
         cause == v1::END_CAUSE_WRONG_INPUT;
}

bool IsReleaseCause(v1::EndCause cause) {
  return cause == v1::END_CAUSE_PREEMPTION || cause == v1::END_CAUSE_RECUT || cause == v1::END_CAUSE_PAUSED ||
         cause == v1::END_CAUSE_CANCELLED || cause == v1::END_CAUSE_RUN_FAILED ||
         cause == v1::END_CAUSE_INFRASTRUCTURE || cause == v1::END_CAUSE_COMPLETED;
}

// The lease under the token when it is this worker's; nullptr: the call passes over all its rows.
const Lease* OwnLease(const State& state, uint64_t worker_id, uint64_t token) {
  const Lease* const lease = state.FindLease(token);
  return lease != nullptr && lease->record.worker_id() == worker_id ? lease : nullptr;
}

template <class Request>
std::vector<uint32_t> LayersOf(const Request& request) {
  return {request.layers().begin(), request.layers().end()};
}

template <class Layers>
std::vector<uint32_t> HeldAmong(const std::vector<uint32_t>& held, const Layers& named) {
  std::vector<uint32_t> both;
  for (const uint32_t layer : held) {
    if (std::count(named.begin(), named.end(), layer) != 0) both.push_back(layer);
  }
  return both;
}

// `held` without `given` is one range of what was held.
bool RestIsContiguous(const std::vector<uint32_t>& held, const std::vector<uint32_t>& given) {
  const auto goes = [&](uint32_t layer) { return std::count(given.begin(), given.end(), layer) != 0; };
  const auto first = std::find_if_not(held.begin(), held.end(), goes);
  const auto end = std::find_if(first, held.end(), goes);
  return std::all_of(end, held.end(), goes);
}

}  // namespace

Decision<v1::FailReply> DecideFail(const Moment& now, const State& state, const Options& options,
                                   const v1::FailRequest& request) {
  Decision<v1::FailReply> decision;
  Draft draft(now, state, options);
  decision.status =
      CheckWriter(draft, {request.worker_id(), request.token(), LayersOf(request), "Fail"}, request.epoch());
  if (!decision.status.ok()) {
    decision.changes = draft.Finish();
    return decision;
  }
  if (!IsFailCause(request.cause()) || request.layers().empty() || request.message().size() > kMessageBytes) {
    decision.status = absl::InvalidArgumentError(absl::StrCat(
        "Fail: ", request.layers_size(), " layers with cause ", v1::EndCause_Name(request.cause()), " and ",
        request.message().size(),
        " bytes of message; it takes USER_ERROR, INFRASTRUCTURE or WRONG_INPUT, the layers at fault and ",
        kMessageBytes, " bytes"));
    return decision;
  }
  const Lease* const lease = OwnLease(state, request.worker_id(), request.token());
  if (lease == nullptr) {
    decision.reason = absl::StrCat("nothing is held under token ", request.token());
    return decision;
  }
  if (request.cause() == v1::END_CAUSE_WRONG_INPUT) {
    draft.RefuseRun(lease->record.run_id(), *state.FindWorker(request.worker_id()), request.message());
  }
  const std::vector<uint32_t> held = draft.HeldLayers(*lease);
  const std::vector<uint32_t> at_fault = HeldAmong(held, request.layers());
  // Those without fault first: were they the last, the run would ask for their return.
  std::vector<uint32_t> others;
  std::set_difference(held.begin(), held.end(), at_fault.begin(), at_fault.end(), std::back_inserter(others));
  EndRows(draft, request.token(), others, {v1::END_CAUSE_SLICE_ENDED, request.message()});
  EndRows(draft, request.token(), at_fault, {request.cause(), request.message()});
  decision.changes = draft.Finish();
  decision.reason = absl::StrCat(lease->record.worker_name(), " failed ", LayersText(at_fault), " of ",
                                 NameOf(state.run(lease->record.run_id()).record), ": ", request.message());
  return decision;
}

Decision<v1::ReleaseLeaseReply> DecideReleaseLease(const Moment& now, const State& state,
                                                   const Options& options,
                                                   const v1::ReleaseLeaseRequest& request) {
  Decision<v1::ReleaseLeaseReply> decision;
  Draft draft(now, state, options);
  decision.status = CheckWriter(
      draft, {request.worker_id(), request.token(), LayersOf(request), "ReleaseLease"}, request.epoch());
  if (!decision.status.ok()) {
    decision.changes = draft.Finish();
    return decision;
  }
  if (!IsReleaseCause(request.cause())) {
    decision.status = absl::InvalidArgumentError(
        absl::StrCat("ReleaseLease: cause ", v1::EndCause_Name(request.cause()), " is no verdict's"));
    return decision;
  }
  const Lease* const lease = OwnLease(state, request.worker_id(), request.token());
  const std::vector<uint32_t> held = lease == nullptr ? std::vector<uint32_t>{} : draft.HeldLayers(*lease);
  const std::vector<uint32_t> given = HeldAmong(held, request.layers());
  if (given.empty()) {
    decision.reason = absl::StrCat("nothing of this is held under token ", request.token());
    return decision;
  }
  if (!RestIsContiguous(held, given)) {
    decision.status = absl::InvalidArgumentError(absl::StrCat(
        "ReleaseLease: without ", LayersText(given), " the slice of ", LayersText(held), " has a hole"));
    return decision;
  }
  // A cause that says "not held" or "done" about rows that are held and not done is the worker's mistake:
  // what it gives back is as lost as by expiry.
  const v1::EndCause cause =
      request.cause() == v1::END_CAUSE_COMPLETED ? v1::END_CAUSE_INFRASTRUCTURE : request.cause();
  EndRows(draft, request.token(), given, {cause, absl::StrCat(lease->record.worker_name(), " gave it back")});
  decision.changes = draft.Finish();
  decision.reason = absl::StrCat(lease->record.worker_name(), " gave ", LayersText(given), " back");
  return decision;
}

}  // namespace retort::orchestrator
