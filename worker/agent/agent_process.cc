#include "worker/agent/agent_process.h"

#include <array>
#include <chrono>
#include <condition_variable>
#include <limits>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/backoff.h"
#include "core/base/check.h"
#include "core/base/mutex.h"
#include "core/base/random.h"
#include "core/rpc/address.h"
#include "core/rpc/call.h"
#include "core/rpc/channel.h"
#include "worker/agent/agent.h"
#include "worker/agent/transport.h"

namespace retort {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPollEvery{50};
constexpr milliseconds kShipEvery{1'000};
constexpr uint32_t kProtocol = 1;

int64_t NowMs() {
  return std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

uint64_t DrawSeed() {
  std::random_device device;
  return MixSeed(device(), {device(), device()});
}

v1::RegisterRequest Registration(const AgentOptions& options) {
  v1::RegisterRequest request;
  request.set_protocol_version(kProtocol);
  while (request.worker_id() == 0) request.set_worker_id(DrawSeed());
  request.set_name(options.name);
  request.set_build_version(options.build_version);
  *request.mutable_capabilities() = options.capabilities;
  request.set_activation_address(options.activation_address);
  return request;
}

class AgentProcess final : public CheckpointSource, public GangCalls {
 public:
  AgentProcess(const AgentOptions& options, Workshop& workshop, Log& log, LogBuffer& shipped)
      : options_(options),
        workshop_(workshop),
        log_(log),
        shipped_(shipped),
        registration_(Registration(options)),
        calls_(v1::WorkerService::NewStub(MakeChannel(options.address))),
        heartbeats_(v1::WorkerService::NewStub(MakeChannel(options.address))),
        agent_(registration_, DrawSeed()) {}

  absl::Status Run(const std::atomic<bool>& stop) {
    std::vector<std::thread> threads;
    for (void (AgentProcess::*loop)() : {&AgentProcess::MakeCalls, &AgentProcess::Heartbeat,
                                         &AgentProcess::DoWork, &AgentProcess::ShipLogs}) {
      threads.emplace_back(loop, this);
    }
    const absl::Status end = Watch(stop);
    for (std::thread& thread : threads) thread.join();
    return end;
  }

 private:
  // What may be cancelled while it is under way, one of each.
  enum Outgoing { kCall, kHeartbeat, kFetch, kGang, kShip };

  // A gRPC context that others see, for a scope.
  class Context {
   public:
    Context(AgentProcess& process, Outgoing kind) : process_(process), kind_(kind) {
      MutexLock lock(process_.mutex_);
      process_.contexts_[kind_] = &context_;
      // Ordered before the end, or the stop, and only now to begin.
      if (process_.agent_.end() || ((kind == kFetch || kind == kGang) && process_.stops_work_))
        context_.TryCancel();
    }
    ~Context() {
      MutexLock lock(process_.mutex_);
      process_.contexts_[kind_] = nullptr;
    }
    grpc::ClientContext& operator*() { return context_; }

   private:
    AgentProcess& process_;
    const Outgoing kind_;
    grpc::ClientContext context_;
  };

  // Signals, notes and broken-off work, until the agent has ended.
  absl::Status Watch(const std::atomic<bool>& stop) {
    bool is_told = false;
    uint64_t token = 0;
    while (true) {
      std::vector<Note> notes;
      std::optional<absl::Status> end;
      uint64_t token_now = 0;
      {
        MutexLock lock(mutex_);
        if (stop && !is_told) {  // read once: it may be set at any moment
          is_told = true;
          agent_.Terminate(NowMs(), options_.grace_ms);
          changed_.notify_all();
        }
        BreakOff();
        notes = agent_.TakeNotes();
        end = agent_.end();
        token_now = agent_.holding() != nullptr ? agent_.holding()->token() : 0;
        if (notes.empty() && !end) changed_.wait_for(mutex_, kPollEvery);
      }
      for (const Note& note : notes) {
        log_.Write(note.level, note.text, {note.run_id, note.stage, note.token, note.step});
      }
      if (std::exchange(token, token_now) != token_now) {
        // Who waited for a task reads its lines now.
        MutexLock lock(mutex_);
        ships_at_once_ = true;
        changed_.notify_all();
      }
      if (end) return *end;
    }
  }

  void BreakOff() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const int64_t now_ms = NowMs();
    const bool has_ended = agent_.end().has_value();
    stops_work_ = agent_.StopsWork(now_ms);
    const bool is_fetch_silent =
        now_ms - fetch_heard_ms_ > std::chrono::duration_cast<milliseconds>(kStreamSilence).count();
    const auto cancel_if = [&](Outgoing kind, bool condition) {
      if (condition && contexts_[kind] != nullptr) contexts_[kind]->TryCancel();
    };
    const bool stops_call = agent_.StopsCall(now_ms);
    cancel_if(kCall, stops_call);
    cancel_if(kHeartbeat, has_ended);
    cancel_if(kFetch, stops_work_ || is_fetch_silent);
    cancel_if(kGang, stops_work_);
    cancel_if(kShip, has_ended || stops_call);  // the good-bye waits for it
    if (has_ended) changed_.notify_all();
  }

  // Waits for the agent's next order of a kind; nothing: it has ended.
  template <class Order>
  std::optional<Order> Next(std::optional<Order> (Agent::*next)(int64_t now_ms)) {
    MutexLock lock(mutex_);
    while (!agent_.end()) {
      const int64_t now_ms = NowMs();
      std::optional<Order> order = (agent_.*next)(now_ms);
      if (order) BreakOff();
      if (order) return order;
      changed_.wait_for(mutex_, milliseconds(agent_.NextDueMs(now_ms) - now_ms));
    }
    return std::nullopt;
  }

  template <class Event>
  void Tell(const Event& event) {
    MutexLock lock(mutex_);
    event(agent_);
    changed_.notify_all();
  }

  void MakeCalls() {
    while (const std::optional<AgentCall> call = Next(&Agent::NextCall)) {
      if (std::holds_alternative<v1::LeaveRequest>(*call)) Ship();
      std::pair<absl::Status, AgentReply> end;
      {
        Context context(*this, kCall);
        end = MakeCall(*context, *calls_, *call);
      }
      Tell([&](Agent& agent) { agent.OnCallEnd(NowMs(), end.first, std::move(end.second)); });
    }
  }

  void Heartbeat() {
    while (const std::optional<v1::HeartbeatRequest> request = Next(&Agent::NextHeartbeat)) {
      absl::StatusOr<v1::HeartbeatReply> reply;
      {
        Context context(*this, kHeartbeat);
        reply = Call(*context, *heartbeats_, &v1::WorkerService::Stub::Heartbeat, *request,
                     milliseconds(HeartbeatDeadlineMs()));
      }
      if (reply.ok() && reply->verdict().has_relay()) {
        options_.on_relay_orders(reply->verdict().token(), reply->verdict().relay());
      }
      if (reply.ok()) reform_generation_ = reply->verdict().reform_generation();
      Tell([&](Agent& agent) { agent.OnHeartbeatEnd(NowMs(), reply); });
    }
  }

  int64_t HeartbeatDeadlineMs() {
    MutexLock lock(mutex_);
    return agent_.heartbeat_deadline_ms();
  }

  void DoWork() {
    while (const std::optional<Work> work = Next(&Agent::NextWork)) {
      WorkEnd end = std::visit([this](const auto& order) { return Do(order); }, *work);
      Tell([&](Agent& agent) { agent.OnWorkEnd(NowMs(), std::move(end)); });
    }
    slice_work_.reset();
  }

  WorkEnd Do(const PrepareOrder& order) { return Ended(workshop_.Prepare(order.slice, stops_work_)); }
  WorkEnd Do(const LoadOrder& order) {
    slice_ = order.slice;
    const auto on_progress = [this](const LoadProgress& progress) {
      Tell([&](Agent& agent) { agent.OnLoadProgress(progress); });
    };
    absl::StatusOr<std::unique_ptr<SliceWork>> work =
        workshop_.Load(slice_, *this, *this, stops_work_, on_progress);
    if (work.ok()) slice_work_ = *std::move(work);
    return {.status = work.status(), .result = {}, .failed_layers = {}};
  }
  WorkEnd Do(const StepOrder&) {
    WorkEnd end = Ended(slice_work_->Step(stops_work_));
    if (!end.status.ok()) end.failed_layers = slice_work_->failed_layers();
    return end;
  }
  WorkEnd Do(const CopyOrder& order) {
    WorkEnd end;
    end.result = order.copy.empty() ? std::vector<SavedLayer>{} : slice_work_->Copy(order.copy);
    if (!order.drop.empty()) slice_work_->Drop(order.drop);
    return end;
  }
  WorkEnd Do(const MakeResultOrder&) {
    absl::StatusOr<SavedLayer> result = slice_work_->MakeResult(stops_work_);
    if (!result.ok()) return {.status = result.status(), .result = {}, .failed_layers = {}};
    std::vector<SavedLayer> saved;
    saved.push_back(*std::move(result));
    return {.status = absl::OkStatus(), .result = std::move(saved), .failed_layers = {}};
  }
  WorkEnd Do(const DiscardOrder&) {
    slice_work_.reset();
    return {};
  }

  template <class Result>
  static WorkEnd Ended(absl::StatusOr<Result> result) {
    if (!result.ok()) return {.status = result.status(), .result = {}, .failed_layers = {}};
    return {.status = absl::OkStatus(), .result = *std::move(result), .failed_layers = {}};
  }

  // On the thread that works, within Load.
  absl::StatusOr<SavedLayer> Fetch(const v1::CheckpointRef& checkpoint,
                                   std::string_view name_prefix) override {
    for (int failures = 1;; ++failures) {
      v1::FetchCheckpointRequest request;
      request.set_worker_id(registration_.worker_id());
      request.set_run_id(slice_.run_id());
      *request.mutable_checkpoint() = checkpoint;
      request.set_name_prefix(std::string(name_prefix));
      const auto on_message = [this] {
        MutexLock lock(mutex_);
        fetch_heard_ms_ = NowMs();
      };
      {
        MutexLock lock(mutex_);
        request.set_epoch(agent_.epoch());
        fetch_heard_ms_ =
            std::numeric_limits<int64_t>::max();  // before its first message it has a turn to await
      }
      absl::StatusOr<SavedLayer> layer;
      {
        Context context(*this, kFetch);
        layer = FetchCheckpoint(*context, *calls_, request, slice_.identity_sha256(), on_message);
      }
      const bool may_pass = absl::IsUnavailable(layer.status()) || absl::IsDeadlineExceeded(layer.status()) ||
                            absl::IsResourceExhausted(layer.status()) || absl::IsCancelled(layer.status());
      if (stops_work_) return absl::CancelledError("the slice was given back while it loaded");
      if (layer.ok() || !may_pass) return layer;
      log_.Warning(absl::StrCat("FetchCheckpoint: ", layer.status().ToString()));
      WaitUnlessStopped(RepeatWaitMs(failures, DrawSeed()));
    }
  }

  // On the thread that works, within Step.
  absl::StatusOr<v1::JoinGangReply> JoinGang(uint64_t after_generation) override {
    v1::JoinGangRequest request;
    request.set_after_generation(after_generation);
    return CallForGang(&v1::WorkerService::Stub::JoinGang, std::move(request));
  }
  absl::StatusOr<v1::RendezvousReply> Rendezvous(v1::RendezvousRequest request) override {
    return CallForGang(&v1::WorkerService::Stub::Rendezvous, std::move(request));
  }
  uint64_t reform_generation() const override { return reform_generation_; }
  absl::StatusOr<std::string> Host() const override {
    return options_.host.empty() ? HostTowards(options_.address) : options_.host;
  }

  template <class Request, class Reply>
  absl::StatusOr<Reply> CallForGang(grpc::Status (v1::WorkerService::Stub::*method)(grpc::ClientContext*,
                                                                                    const Request&, Reply*),
                                    Request request) {
    request.set_worker_id(registration_.worker_id());
    request.set_token(slice_.token());
    {
      MutexLock lock(mutex_);
      request.set_epoch(agent_.epoch());
    }
    Context context(*this, kGang);
    return Call(*context, *calls_, method, request, kCallDeadline);
  }

  void WaitUnlessStopped(int64_t wait_ms) {
    const int64_t until_ms = NowMs() + wait_ms;
    MutexLock lock(mutex_);
    for (int64_t now_ms = NowMs(); now_ms < until_ms && !stops_work_; now_ms = NowMs()) {
      changed_.wait_for(mutex_, milliseconds(until_ms - now_ms));
    }
  }

  void ShipLogs() {
    while (true) {
      {
        MutexLock lock(mutex_);
        const int64_t until_ms = NowMs() + kShipEvery.count();
        for (int64_t now_ms = NowMs(); now_ms < until_ms && !agent_.end() && !ships_at_once_;
             now_ms = NowMs()) {
          changed_.wait_for(mutex_, milliseconds(until_ms - now_ms));
        }
        if (agent_.end()) return;
        ships_at_once_ = false;
      }
      Ship();
    }
  }

  // What fits one call. Lines that do not arrive stay for the next one.
  void Ship() {
    MutexLock one_at_a_time(ship_mutex_);
    const LogBuffer::Batch batch = shipped_.Oldest();
    v1::ShipLogsRequest request;
    request.set_worker_id(registration_.worker_id());
    request.set_first_line(batch.first_line);
    request.mutable_lines()->Add(batch.lines.begin(), batch.lines.end());
    {
      MutexLock lock(mutex_);
      request.set_epoch(agent_.epoch());
    }
    if (batch.lines.empty() || request.epoch() == 0) return;
    absl::Status status;
    {
      Context context(*this, kShip);
      status = Call(*context, *calls_, &v1::WorkerService::Stub::ShipLogs, request, kShipDeadline).status();
    }
    if (status.ok()) shipped_.Forget(batch.first_line + batch.lines.size());
  }

  // Short: it also goes before the good-bye, within the grace.
  static constexpr milliseconds kShipDeadline{1'000};

  const AgentOptions& options_;
  Workshop& workshop_;
  Log& log_;
  LogBuffer& shipped_;
  const v1::RegisterRequest registration_;
  const std::unique_ptr<v1::WorkerService::Stub> calls_;
  const std::unique_ptr<v1::WorkerService::Stub> heartbeats_;

  Mutex ship_mutex_;  // before mutex_
  Mutex mutex_;
  std::condition_variable_any changed_;
  Agent agent_ ABSL_GUARDED_BY(mutex_);
  std::array<grpc::ClientContext*, 5> contexts_ ABSL_GUARDED_BY(mutex_) = {};
  bool ships_at_once_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t fetch_heard_ms_ ABSL_GUARDED_BY(mutex_) = 0;
  std::atomic<bool> stops_work_ = false;
  std::atomic<uint64_t> reform_generation_ = 0;

  // Of the thread that works.
  v1::Slice slice_;  // outlives slice_work_
  std::unique_ptr<SliceWork> slice_work_;
};

}  // namespace

absl::Status RunAgent(const AgentOptions& options, Workshop& workshop, Log& log, LogBuffer& shipped,
                      const std::atomic<bool>& stop) {
  AgentProcess process(options, workshop, log, shipped);
  return process.Run(stop);
}

}  // namespace retort
