#include "worker/relay/prefetcher.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/backoff.h"
#include "core/base/random.h"

namespace retort {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPoll{50};  // for `stop`
// Who is to hold the layers below may not have been named, or may not have loaded them. After so long from
// the first question on one does without.
constexpr int64_t kToBeginMs = 5'000;

}  // namespace

Prefetcher::Prefetcher(Upstream& upstream, std::shared_ptr<const ServedRun> run, const RelayedSlice& slice,
                       Log& log)
    : upstream_(upstream),
      run_(std::move(run)),
      slice_(slice),
      micro_batches_(run_->PlanOf(slice.stage)->micro_batches),
      end_(run_->PlanOf(slice.stage)->steps * micro_batches_),
      log_(log),
      next_(end_),  // until StartAt
      asked_since_ms_(RelayNowMs()),
      thread_([this] { Fetch(); }) {}

Prefetcher::~Prefetcher() {
  {
    MutexLock lock(mutex_);
    is_ending_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void Prefetcher::Write(v1::LogLevel level, const std::string& text, int64_t step) {
  log_.Write(level, text, {slice_.run_id, slice_.stage, slice_.token, static_cast<uint64_t>(step)});
}

void Prefetcher::StartAt(int64_t step, int64_t highest) {
  MutexLock lock(mutex_);
  low_step_ = step;
  highest_ = highest;
  SkipTo(Number(step, 0));
}

void Prefetcher::SkipTo(int64_t number) {
  wanted_ = number;
  while (!fetched_.empty() && fetched_.front().number != number) fetched_.pop_front();
  if (fetched_.empty()) next_ = number;
  changed_.notify_all();
}

std::optional<Boundary> Prefetcher::Get(int64_t step, int64_t pass, const std::atomic<bool>& stop) {
  const int64_t number = Number(step, pass);
  MutexLock lock(mutex_);
  if (wanted_ != number) SkipTo(number);
  while (!stop.load()) {
    if (!fetched_.empty() && fetched_.front().number == number) {
      Boundary boundary = std::move(fetched_.front().boundary);
      fetched_.pop_front();
      wanted_ = number + 1;
      changed_.notify_all();
      return boundary;
    }
    if (is_lost_) break;
    changed_.wait_for(mutex_, kPoll);
  }
  SkipTo(number + 1);
  return std::nullopt;
}

void Prefetcher::BeginToAsk(const std::string& address) {
  if (asked_ == address) return;
  asked_ = address;
  asked_since_ms_ = RelayNowMs();
  has_failed_ = false;
}

void Prefetcher::Regain() {
  if (std::exchange(is_lost_, false)) {
    Write(v1::LOG_LEVEL_INFO, "the worker below answers again", low_step_);
  }
}

// Worth waiting for again, unless its signs of life have come to nothing before.
void Prefetcher::OnSignOfLife() {
  MutexLock lock(mutex_);
  if (!has_failed_) Regain();
}

void Prefetcher::OnAnswer(int64_t number, Boundary boundary) {
  MutexLock lock(mutex_);
  has_failed_ = false;
  Regain();
  if (number != next_) return;  // skipped meanwhile
  fetched_.push_back({number, std::move(boundary)});
  ++next_;
  changed_.notify_all();
}

void Prefetcher::OnError(const absl::Status& error) {
  MutexLock lock(mutex_);
  const bool is_not_loaded = absl::IsFailedPrecondition(error) || absl::IsOutOfRange(error);
  if ((asked_.empty() || is_not_loaded) && RelayNowMs() - asked_since_ms_ < kToBeginMs) return;
  has_failed_ = true;
  if (std::exchange(is_lost_, true)) return;
  Write(v1::LOG_LEVEL_WARNING,
        absl::StrCat("no worker below answers: its teacher blocks are run here until one does (",
                     error.ToString(), ")"),
        low_step_);
  changed_.notify_all();
}

bool Prefetcher::IsFull() const { return next_ >= end_ || next_ >= wanted_ + slice_.limits.prefetch; }

void Prefetcher::Fetch() {
  int failures = 0;
  uint64_t draws = 0;
  while (true) {
    int64_t number = 0, low_step = 0, highest = 0;
    std::string asked;
    {
      MutexLock lock(mutex_);
      while (!is_ending_ && IsFull()) changed_.wait(mutex_);
      if (is_ending_) return;
      number = next_;
      low_step = low_step_;
      highest = highest_;
      asked = upstream_.address();
      BeginToAsk(asked);
    }
    const auto go_on = [&] {
      if (upstream_.address() != asked) return false;
      MutexLock lock(mutex_);
      return !is_ending_ && next_ == number;
    };
    absl::StatusOr<Boundary> pulled =
        upstream_.Pull(*run_, slice_.stage, number / micro_batches_, number % micro_batches_, highest,
                       slice_.token, static_cast<uint64_t>(low_step), go_on, [this] { OnSignOfLife(); });
    if (pulled.ok()) {
      failures = 0;
      OnAnswer(number, *std::move(pulled));
    } else if (!absl::IsCancelled(pulled.status())) {
      OnError(pulled.status());
      Rest(++failures, ++draws, asked);
    }
  }
}

// Until another worker is named, at most.
void Prefetcher::Rest(int failures, uint64_t draw, const std::string& asked) {
  const int64_t until_ms = RelayNowMs() + RepeatWaitMs(failures, MixSeed(slice_.token, {draw}));
  MutexLock lock(mutex_);
  while (!is_ending_ && RelayNowMs() < until_ms && upstream_.address() == asked) {
    changed_.wait_for(mutex_, kPoll);
  }
}

}  // namespace retort
