#include "tests/sim/sim_orchestrator.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/random.h"
#include "core/base/status_macros.h"
#include "core/store/checkpoint_reader.h"
#include "core/store/verify.h"

namespace retort::sim {
namespace {

constexpr char kPath[] = "/state";
constexpr int64_t kLeaseWaitMs = 20'000;
constexpr int64_t kEpochUnixMs = 1'700'000'000'000;

}  // namespace

SimOrchestrator::SimOrchestrator(World& world, Network& network, Oracle& oracle,
                                 const orchestrator::Options& options)
    : world_(world),
      network_(network),
      oracle_(oracle),
      options_(options),
      flaky_disk_(disk_.env()),
      log_(v1::LOG_LEVEL_INFO, [] { return int64_t{0}; },
           {[&world](const v1::LogLine& line) { world.Trace("  orchestrator: ", line.text()); }}) {}

SimOrchestrator::~SimOrchestrator() {
  coordinator_.reset();
  store_.reset();
}

int64_t SimOrchestrator::SteadyMs() const {
  return 1'000'000 + static_cast<int64_t>(static_cast<double>(world_.now_ms()) * clock_rate_);
}

orchestrator::Moment SimOrchestrator::Now() {
  return {.steady_ms = SteadyMs(),
          .unix_ms = kEpochUnixMs + world_.now_ms() + wall_offset_ms_,
          .random = MixSeed(17, {++draws_})};
}

void SimOrchestrator::Start() {
  RETORT_CHECK(!is_up());
  flaky_disk_.Mend();
  disk_.CutAfter(-1);
  absl::StatusOr<std::unique_ptr<Store>> store = Store::Open(kPath, flaky_disk_.env());
  if (!store.ok()) return world_.Violation("the store does not open: ", store.status().ToString());
  store_ = *std::move(store);
  auto coordinator = orchestrator::Coordinator::Start(
      *store_, options_, [this] { return Now(); }, log_);
  if (!coordinator.ok()) {
    return world_.Violation("the orchestrator does not start: ", coordinator.status().ToString());
  }
  coordinator_ = *std::move(coordinator);
  const orchestrator::State before = std::exchange(state_, coordinator_->state());
  state_at_change_ = coordinator_->changes();
  world_.Trace("orchestrator up, epoch ", state_.epoch);
  if (starts_++ > 0) oracle_.OnStart(*store_, before, state_, is_exact_);
  oracle_.OnOrchestratorUp(world_.now_ms() + options_.lease_ttl_ms);
  PlanTick(world_.now_ms());
}

void SimOrchestrator::Crash(bool loses_power, int64_t down_ms) {
  if (!is_up()) return;
  is_exact_ = !disk_.is_cut() && coordinator_->failure().ok();
  world_.Trace("orchestrator dies", is_exact_ ? "" : " within a call", loses_power ? ", power lost" : "");
  if (loses_power) disk_.CutAfter(1);
  coordinator_.reset();
  store_.reset();
  if (loses_power) disk_.RestorePower();
  waiters_.clear();
  network_.BreakAll();
  world_.After(down_ms, [this] { Start(); });
}

bool SimOrchestrator::Outlived(const Oracle::Claim& claim) {
  if (disk_.is_cut() || !coordinator_->failure().ok()) {
    if (!disk_.is_cut() && !flaky_disk_.TakeHasFailed()) {
      world_.Violation("the orchestrator ends itself: ", coordinator_->failure().ToString());
    }
    Crash(/*loses_power=*/true, world_.DrawMs(100, 20'000));
    return false;
  }
  if (coordinator_->changes() != state_at_change_) {
    state_at_change_ = coordinator_->changes();
    const orchestrator::State before = std::exchange(state_, coordinator_->state());
    oracle_.OnChange(claim, SteadyMs(), before, state_);
    CheckPublished(before);
    PlanTick(world_.now_ms());
    world_.After(0, [this] { AskAgain(); });
  }
  return true;
}

void SimOrchestrator::CheckPublished(const orchestrator::State& before) {
  for (const auto& [run_id, run] : state_.runs) {
    if (run.record.state() == v1::RUN_STATE_CANCELLED) continue;
    const auto earlier = before.runs.find(run_id);
    if (earlier == before.runs.end()) continue;
    if (run.record.result_publish() != earlier->second.record.result_publish()) {
      oracle_.CheckManifest(*store_, {run_id, v1::STAGE_END_TO_END, 0, run.record.result_publish()}, state_);
    }
    for (const auto& [id, task] : run.tasks) {
      const v1::TaskRecord* const was = before.FindTask(run_id, id);
      if (task.last_publish() == 0 || was == nullptr || was->last_publish() == task.last_publish()) continue;
      oracle_.CheckManifest(*store_, {run_id, id.stage, id.layer, task.last_publish()}, state_);
    }
  }
}

void SimOrchestrator::PlanTick(int64_t at_ms) {
  if (next_tick_ms_ > world_.now_ms() && next_tick_ms_ <= at_ms) return;
  next_tick_ms_ = at_ms;
  world_.At(at_ms, [this, at_ms, start = starts_] {
    if (is_up() && start == starts_ && next_tick_ms_ == at_ms) Tick();
  });
}

void SimOrchestrator::Tick() {
  next_tick_ms_ = 0;
  const int64_t due_ms = coordinator_->Tick();
  if (!Outlived({.call = "Tick"})) return;
  const int64_t wait_ms = static_cast<int64_t>(static_cast<double>(due_ms - SteadyMs()) / clock_rate_) + 1;
  PlanTick(world_.now_ms() + std::max<int64_t>(1, wait_ms));
}

// ---- Lease waits for work

void SimOrchestrator::ServeLease(const v1::LeaseRequest& request, Delivery delivery,
                                 const Respond<v1::LeaseReply>& respond) {
  if (!is_up()) return respond(absl::UnavailableError("nobody listens"));
  waiters_.push_back({request, delivery, respond, ~uint64_t{0}, world_.now_ms() + kLeaseWaitMs});
  AskAgain();
  world_.After(kLeaseWaitMs, [this] { AskAgain(); });
}

void SimOrchestrator::AskAgain() {
  for (size_t i = 0; i < waiters_.size() && is_up();) {
    const Waiter waiter = waiters_[i];
    const bool is_over = world_.now_ms() >= waiter.until_ms;
    if (!is_over && waiter.asked_at_change == coordinator_->changes()) {
      ++i;
      continue;
    }
    waiters_[i].asked_at_change = coordinator_->changes();
    const absl::StatusOr<v1::LeaseReply> reply = coordinator_->Lease(waiter.request);
    if (!Outlived({.call = "Lease", .worker_id = waiter.request.worker_id()})) return;
    oracle_.OnAnswer("Lease", waiter.delivery.is_awaited, reply.status());
    if (reply.ok() && reply->has_slice()) {
      const orchestrator::Lease* const lease = state_.FindLease(reply->slice().token());
      if (lease != nullptr) {
        const double left_ms = static_cast<double>(lease->deadline_steady_ms - SteadyMs()) / clock_rate_;
        oracle_.OnGranted(reply->slice().token(), world_.now_ms() + static_cast<int64_t>(left_ms));
      }
    }
    if (reply.ok() && !reply->has_slice() && !is_over) {
      ++i;
      continue;
    }
    waiters_.erase(waiters_.begin() + static_cast<int64_t>(i));
    waiter.respond(reply);
  }
}

// ---- streams

void SimOrchestrator::ServeFetch(const v1::FetchCheckpointRequest& request, Delivery,
                                 const Respond<std::vector<v1::FetchCheckpointReply>>& respond) {
  if (!is_up()) return respond(absl::UnavailableError("nobody listens"));
  auto reader = coordinator_->FetchCheckpoint(request);
  if (!Outlived({.call = "FetchCheckpoint"})) return;
  if (!reader.ok()) return respond(reader.status());
  std::vector<v1::FetchCheckpointReply> messages(1);
  v1::CheckpointInfo& info = *messages[0].mutable_info();
  info.set_identity_sha256((*reader)->manifest().identity_sha256());
  info.set_step((*reader)->manifest().step());
  for (const v1::StoredTensor& tensor : (*reader)->tensors()) *info.add_tensors() = tensor.info();
  while (true) {
    const auto piece = (*reader)->Next();
    if (!piece.ok()) return respond(piece.status());
    if (!*piece) break;
    v1::TensorChunk& chunk = *messages.emplace_back().mutable_chunk();
    chunk.set_index((*piece)->index);
    chunk.set_offset_bytes((*piece)->offset_bytes);
    chunk.set_crc32c((*piece)->crc32c);
    chunk.set_data(std::string((*piece)->data));
  }
  respond(std::move(messages));
}

absl::Status SimOrchestrator::OpenUpload(const v1::UploadHeader& header) {
  if (!is_up()) return absl::UnavailableError("nobody listens");
  absl::Status status = coordinator_->OpenUpload(header);
  if (status.ok()) status = coordinator_->StartUpload(header);
  return Outlived({.call = "UploadChunks"}) ? status : absl::UnavailableError("it died");
}

absl::Status SimOrchestrator::AppendChunk(uint64_t start, const v1::UploadHeader& header,
                                          const v1::TensorChunk& chunk) {
  if (!is_up() || start != starts_) return absl::UnavailableError("the connection broke");
  const absl::Status status = coordinator_->AppendChunk(header, chunk);
  return Outlived({.call = "UploadChunks"}) ? status : absl::UnavailableError("it died");
}

void SimOrchestrator::BreakUpload(uint64_t start, const v1::UploadHeader& header) {
  if (!is_up() || start != starts_) return;
  coordinator_->DropPublish(header);
  Outlived({.call = "UploadChunks"});
}

// ---- the end

absl::StatusOr<std::string> SimOrchestrator::DownloadResult(uint64_t run_id) {
  v1::DownloadRequest request;
  request.mutable_run()->set_id(run_id);
  request.set_file("result.json");
  ASSIGN_OR_RETURN(const std::unique_ptr<orchestrator::ResultReader> reader, coordinator_->Download(request));
  std::string bytes;
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<v1::FileChunk> chunk, reader->Next());
    if (!chunk) return bytes;
    bytes += chunk->data();
  }
}

std::vector<v1::EventRecord> SimOrchestrator::Events() const {
  std::vector<v1::EventRecord> events;
  const absl::Status status =
      store_->Scan<EventKey>(EventsFrom(0), [&events](const EventKey&, const v1::EventRecord& event) {
        events.push_back(event);
        return absl::OkStatus();
      });
  if (!status.ok()) world_.Violation("the events cannot be read: ", status.ToString());
  return events;
}

void SimOrchestrator::VerifyStored() {
  coordinator_.reset();
  store_.reset();
  const absl::StatusOr<VerifyReport> report = VerifyStore(kPath, disk_.env());
  const absl::Status status = report.ok() ? report->status() : report.status();
  if (!status.ok()) world_.Violation("at the end: ", status.ToString());
}

}  // namespace retort::sim
