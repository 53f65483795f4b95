#include "worker/relay/teacher_service.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/status_macros.h"
#include "model/lm/torch_seam.h"
#include "worker/relay/boundary_wire.h"

namespace retort {
namespace {

// After an upstream has not answered, how long everything is recomputed before it is asked again.
constexpr int64_t kAskAgainMs = 5'000;
// What is made for others must come to an end, however long the one below lets us wait.
constexpr int64_t kMostWaitMs = 30'000;

}  // namespace

TeacherService::TeacherService(RelayState& state, Upstream& upstream, std::function<void()> begin_thread)
    : state_(state),
      upstream_(upstream),
      begin_thread_(std::move(begin_thread)),
      thread_([this] { Serve(); }) {}

TeacherService::~TeacherService() {
  {
    MutexLock lock(mutex_);
    is_ending_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

std::shared_ptr<TeacherService::Wish> TeacherService::Ask(std::shared_ptr<const ServedRun> run,
                                                          const v1::BatchRef& batch, uint64_t token) {
  auto wish = std::make_shared<Wish>(Wish{.run = std::move(run), .batch = batch, .token = token});
  MutexLock lock(mutex_);
  wishes_.push_back(wish);
  changed_.notify_all();
  return wish;
}

std::optional<absl::StatusOr<at::Tensor>> TeacherService::Await(Wish& wish, int64_t wait_ms) {
  const int64_t until_ms = RelayNowMs() + wait_ms;
  MutexLock lock(mutex_);
  for (int64_t now_ms = RelayNowMs(); !wish.answer && !is_ending_ && now_ms < until_ms;
       now_ms = RelayNowMs()) {
    changed_.wait_for(mutex_, std::chrono::milliseconds(until_ms - now_ms));
  }
  if (!wish.answer && is_ending_) return absl::UnavailableError("this worker ends");
  return wish.answer;
}

void TeacherService::GiveUp(Wish& wish) {
  MutexLock lock(mutex_);
  wish.is_given_up = true;
}

bool TeacherService::IsWanted(const Wish& wish) const {
  MutexLock lock(mutex_);
  return !wish.is_given_up && !is_ending_;
}

void TeacherService::Serve() {
  begin_thread_();
  while (true) {
    std::shared_ptr<Wish> wish;
    {
      MutexLock lock(mutex_);
      while (wishes_.empty() && !is_ending_) changed_.wait(mutex_);
      if (is_ending_) return;
      wish = wishes_.front();
      wishes_.pop_front();
    }
    if (!IsWanted(*wish)) continue;
    absl::StatusOr<at::Tensor> answer =
        CatchTorch(absl::StrCat("the teacher's ", BatchText(wish->batch)), [&] { return Make(*wish); });
    MutexLock lock(mutex_);
    wish->answer = std::move(answer);
    changed_.notify_all();
  }
}

absl::StatusOr<Boundary> TeacherService::Input(Wish& wish, const StagePlan& plan) {
  const v1::BatchRef& batch = wish.batch;
  const auto step = static_cast<int64_t>(batch.step());
  const std::string below = upstream_.address();
  if (!below.empty() && batch.boundary() > 1 && RelayNowMs() >= ask_upstream_from_ms_) {
    const int64_t until_ms = RelayNowMs() + kMostWaitMs;
    const auto go_on = [&] {
      return IsWanted(wish) && upstream_.address() == below && RelayNowMs() < until_ms;
    };
    absl::StatusOr<Boundary> pulled =
        upstream_.Pull(*wish.run, batch.stage(), step, batch.micro_batch(), batch.boundary() - 1, wish.token,
                       /*low_step=*/std::nullopt, go_on, [] {});
    if (pulled.ok()) return pulled;
    if (!IsWanted(wish)) return absl::CancelledError("nobody waits for it any more");
    ask_upstream_from_ms_ = RelayNowMs() + kAskAgainMs;
  }
  return EmbedMicroBatch(plan, wish.run->teacher, *wish.run->batches, step, batch.micro_batch());
}

absl::StatusOr<at::Tensor> TeacherService::Make(Wish& wish) {
  const StagePlan* const plan = wish.run->PlanOf(wish.batch.stage());
  RETORT_CHECK(plan != nullptr) << BatchText(wish.batch);
  ASSIGN_OR_RETURN(Boundary input, Input(wish, *plan));
  TeacherWork work;
  TeacherPass pass(wish.run->teacher, std::move(input), work);
  pass.AdvanceTo(wish.batch.boundary());
  state_.counts().served_blocks += static_cast<uint64_t>(work.blocks);
  return pass.hidden_BTE();
}

}  // namespace retort
