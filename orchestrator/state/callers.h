// Who calls: registrations, epochs, tokens, and requests that were answered before.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/base/check.h"
#include "core/base/sha256.h"
#include "google/protobuf/message_lite.h"
#include "orchestrator/state/draft.h"

namespace retort::orchestrator {

// Whether the caller has seen a later orchestrator on this store: this one answers UNAVAILABLE and ends
// itself.
bool IsSuperseded(const State& state, uint64_t presented_epoch);

// OK for a registered worker that presents this epoch; else ABORTED, or UNAVAILABLE when superseded.
absl::Status CheckCaller(const State& state, uint64_t worker_id, uint64_t presented_epoch);

// Whether the layer's row, of those that the token was granted, is DONE under it.
bool IsRowDoneUnder(const State& state, uint64_t token, uint32_t layer);

struct TokenClaim {
  uint64_t worker_id;
  uint64_t token;
  std::vector<uint32_t> layers;
  std::string call;  // "Complete"
};

// CheckCaller of a call that writes. A worker that was silent past its lease is no longer registered when it
// comes back, so it is refused before its token is looked at: the draft gets the STALE_WRITE_REFUSED event
// here, unless the lease stands (as after a restart), the layers are DONE under the token (a repetition), or
// no row bears the token: then the write is of no run, and nothing would ever delete its event.
absl::Status CheckWriter(Draft& draft, const TokenClaim& claim, uint64_t presented_epoch);

// Adds the event, in the same way, if the claim's lease does not stand. `why`: a part of its text, or empty.
void CountIfStale(Draft& draft, const TokenClaim& claim, absl::string_view why);

// OK when every layer's row is LEASED under the token and the lease is this worker's. Else ABORTED, and the
// draft gets the STALE_WRITE_REFUSED event if a row bears the token. INVALID_ARGUMENT when no layer is named.
absl::Status CheckToken(Draft& draft, const TokenClaim& claim);

// 1 to 64 printable ASCII characters.
bool IsRequestId(absl::string_view id);

// SHA-256, 32 bytes, of a method and a request.
std::string RequestSha256(const std::string& method, const google::protobuf::MessageLite& request);

// Whether `decision` now holds the answer because the request id is not new: the stored reply, or
// INVALID_ARGUMENT for another request under the id or an id that is none.
template <class Reply, class Request>
bool AnswerRepeated(const State& state, const std::string& method, const Request& request,
                    Decision<Reply>& decision) {
  const std::string& id = request.request_id();
  if (!IsRequestId(id)) {
    decision.status = absl::InvalidArgumentError(absl::StrCat(
        method, ": request_id has ", id.size(), " bytes; it must be 1 to 64 printable ASCII characters"));
    return true;
  }
  const auto kept = state.requests.find(id);
  if (kept == state.requests.end()) return false;
  if (kept->second.request_sha256() != RequestSha256(method, request)) {
    decision.status = absl::InvalidArgumentError(
        absl::StrCat(method, ": request_id ", id, " was used for another request; draw a new one"));
  } else {
    RETORT_CHECK(decision.reply.ParseFromString(kept->second.reply())) << id;
    decision.reason = absl::StrCat(method, " repeats request ", id);
  }
  return true;
}

// Keeps the reply for the request's repetitions.
template <class Reply, class Request>
void KeepReply(Draft& draft, const std::string& method, const Request& request, const Reply& reply) {
  v1::RequestRecord record;
  record.set_version(1);
  record.set_request_sha256(RequestSha256(method, request));
  record.set_reply(reply.SerializeAsString());
  record.set_created_unix_ms(draft.now().unix_ms);
  draft.AddRequest(request.request_id(), std::move(record));
}

}  // namespace retort::orchestrator
