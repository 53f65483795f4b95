// Which piece of work is done next, and what its end means.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/backoff.h"
#include "core/base/check.h"
#include "worker/agent/agent.h"

namespace retort {
namespace {

// slice_work.h says whose fault a code is.
v1::EndCause CauseOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kInternal:
      return v1::END_CAUSE_USER_ERROR;
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kFailedPrecondition:
      return v1::END_CAUSE_WRONG_INPUT;
    default:
      return v1::END_CAUSE_INFRASTRUCTURE;
  }
}

}  // namespace

std::optional<Work> Agent::NextWork(int64_t now_ms) {
  if (work_ || end_) return std::nullopt;
  work_ = ChooseWork(now_ms);
  work_token_ = holding_ ? holding_->token() : 0;
  return work_;
}

std::optional<Work> Agent::ChooseWork(int64_t now_ms) {
  const bool is_slice_loaded = holding_ && loaded_token_ == holding_->token();
  if (loaded_token_ != 0 && (!is_slice_loaded || failure_ || !holding_->NeedsWork())) return DiscardOrder{};
  if (!holding_ || failure_) return std::nullopt;
  if (holding_->is_prepare()) {
    if (holding_->is_prepared() || holding_->AllAskedBack()) return std::nullopt;
    return PrepareOrder{holding_->slice()};
  }
  if (is_slice_loaded) return ChooseLoadedWork(now_ms);
  if (!holding_->NeedsLoad() || verdict_needed_ || now_ms < load_due_ms_) return std::nullopt;
  return LoadOrder{holding_->BeginLoad()};
}

std::optional<Work> Agent::ChooseLoadedWork(int64_t now_ms) {
  Holding::Departure departure = holding_->BeginDeparture();
  if (!departure.drop.empty()) return CopyOrder{std::move(departure.copy), std::move(departure.drop)};
  if (publishes_.empty()) {
    std::vector<uint32_t> due = holding_->BeginCopy();
    if (!due.empty()) return CopyOrder{std::move(due), {}};
  }
  if (!lease_clock_.may_work(now_ms)) return std::nullopt;
  if (holding_->CanMakeResult()) return MakeResultOrder{};
  if (holding_->CanStep()) return StepOrder{};
  return std::nullopt;
}

bool Agent::IsWorkStale() const { return !holding_ || failure_ || holding_->token() != work_token_; }

void Agent::OnWorkEnd(int64_t now_ms, WorkEnd end) {
  RETORT_CHECK(work_.has_value());
  const Work work = *std::exchange(work_, std::nullopt);
  if (end_) return;
  if (std::holds_alternative<DiscardOrder>(work)) {
    loaded_token_ = 0;
    if (holding_ && !holding_->is_prepare() && work_token_ == holding_->token())
      holding_->OnLoadEnd(now_ms, false);
    return;
  }
  const bool is_load = std::holds_alternative<LoadOrder>(work);
  if (is_load && end.status.ok()) loaded_token_ = work_token_;
  if (IsWorkStale()) return;
  if (is_load) return OnLoaded(now_ms, end.status);
  if (absl::IsCancelled(end.status)) return;  // StopsWork
  if (!end.status.ok()) {
    return FailSlice(CauseOf(end.status), std::move(end.failed_layers), std::string(end.status.message()));
  }
  if (std::holds_alternative<PrepareOrder>(work)) {
    prepared_ = std::get<v1::PreparedRun>(std::move(end.result));
    holding_->OnPrepared();
  } else if (std::holds_alternative<StepOrder>(work)) {
    holding_->OnStep(now_ms, std::get<StepReport>(end.result));
  } else if (const auto* copy = std::get_if<CopyOrder>(&work)) {
    OnCopied(*copy, std::get<std::vector<SavedLayer>>(std::move(end.result)));
  } else {
    holding_->OnResultMade();
    AddPublish(v1::PUBLISH_KIND_RESULT, std::get<std::vector<SavedLayer>>(std::move(end.result)));
  }
}

void Agent::OnLoaded(int64_t now_ms, const absl::Status& status) {
  holding_->OnLoadEnd(now_ms, status.ok());
  if (status.ok()) {
    load_failures_ = 0;
    return Write(v1::LOG_LEVEL_INFO, "loaded");
  }
  if (absl::IsCancelled(status)) return;
  if (!absl::IsAborted(status)) {
    return FailSlice(CauseOf(status), {}, std::string(status.message()));
  }
  // The source met an orchestrator that does not know this worker or its lease any more.
  Write(v1::LOG_LEVEL_WARNING, absl::StrCat("loads again: ", status.ToString()));
  RegisterAgain();
  load_due_ms_ = now_ms + RepeatWaitMs(++load_failures_, Draw());
}

void Agent::AddPublish(v1::PublishKind kind, std::vector<SavedLayer> saved) {
  publishes_.push_back(
      {.kind = kind, .saved = std::make_shared<const std::vector<SavedLayer>>(std::move(saved))});
}

void Agent::OnCopied(const CopyOrder& order, std::vector<SavedLayer> saved) {
  holding_->OnDeparted(order.drop);
  if (saved.empty()) return;
  // A copy for giving back goes first: there is a time limit on it.
  std::erase_if(publishes_, [&](const Publish& publish) {
    const bool is_needed = std::any_of(publish.saved->begin(), publish.saved->end(),
                                       [&](const SavedLayer& copy) { return holding_->IsNeeded(copy); });
    if (publish.kind == v1::PUBLISH_KIND_RESULT || is_needed) return false;
    for (const SavedLayer& copy : *publish.saved) holding_->ForgetCopy(copy.layer);
    holding_->MakeCopyDue();
    return true;
  });
  holding_->OnCopied(saved);
  AddPublish(v1::PUBLISH_KIND_CHECKPOINT, std::move(saved));
}

}  // namespace retort
