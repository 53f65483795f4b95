#include "tests/sim/sim_worker.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/backoff.h"
#include "core/base/check.h"
#include "core/rpc/call.h"
#include "worker/agent/checkpoint_assembly.h"
#include "worker/agent/saved.h"

namespace retort::sim {
namespace {

using orchestrator::Coordinator;

template <class Duration>
int64_t Ms(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

}  // namespace

// ---- the process

uint64_t SimWorker::token() const {
  return process_ == nullptr || process_->agent.holding() == nullptr ? 0 : process_->agent.holding()->token();
}

void SimWorker::Start() {
  if (is_up()) return;
  v1::RegisterRequest registration;
  registration.set_protocol_version(1);
  registration.set_worker_id(world_.Draw(1, ~uint64_t{0} >> 1));
  registration.set_name(profile_.name);
  v1::Capabilities& has = *registration.mutable_capabilities();
  has.set_numerics_id("n1");
  has.set_compute_path(v1::COMPUTE_PATH_AVX2);
  has.set_device(v1::DEVICE_KIND_CPU);
  has.set_threads(2);
  has.set_memory_bytes(uint64_t{8} << 30);
  has.set_measured_gflops(10 / profile_.seconds_per_layer);
  if (profile_.serves) registration.set_activation_address(absl::StrCat(name(), ":", ++incarnations_));
  process_ = std::make_shared<Process>(registration, world_.Draw(1, ~uint64_t{0} >> 1));
  process_->born_ms = world_.now_ms();
  stopped_until_ms_ = 0;
  world_.Trace(name(), " starts");
  Poke(process_);
}

void SimWorker::Kill() {
  if (!is_up()) return;
  world_.Trace(name(), " is gone");
  process_ = nullptr;
  deferred_.clear();
  const bool is_long = world_.Chance(0.15);
  world_.After(is_long ? world_.DrawMs(20'000, 90'000) : world_.DrawMs(200, 15'000), [this] { Start(); });
}

void SimWorker::Exit(const ProcessPtr& process) {
  const absl::Status& end = *process->agent.end();
  world_.Trace(name(), " exits: ", end.ToString());
  if (absl::IsInvalidArgument(end) || absl::IsUnimplemented(end)) {
    world_.Violation(name(), " ends itself: ", end.ToString());
  }
  Kill();
}

void SimWorker::Stop(int64_t for_ms) {
  if (!is_up()) return;
  world_.Trace(name(), " is stopped for ", for_ms, " ms");
  stopped_until_ms_ = world_.now_ms() + for_ms;
  world_.After(for_ms, [this, stop = ++stops_] {
    if (stop == stops_) Continue();
  });
}

void SimWorker::Continue() {
  stopped_until_ms_ = 0;
  ++stops_;
  for (auto& [process, event] : std::exchange(deferred_, {})) In(process, std::move(event));
  if (is_up()) Poke(process_);
}

void SimWorker::Terminate(int64_t grace_ms) {
  if (!is_up()) return;
  const ProcessPtr process = process_;
  world_.Trace(name(), " gets SIGTERM with ", grace_ms, " ms");
  In(process, [this, process, grace_ms] { process->agent.Terminate(LocalMs(*process), grace_ms); });
  // The supervisor kills what is still there.
  world_.After(grace_ms + 2'000, [this, process] {
    if (process == process_) Kill();
  });
}

int64_t SimWorker::LocalMs(const Process& process) const {
  const double age_ms = static_cast<double>(world_.now_ms() - process.born_ms);
  return 5'000 + static_cast<int64_t>(age_ms * profile_.clock_rate);
}

void SimWorker::In(const ProcessPtr& process, std::function<void()> event) {
  if (process != process_) return;
  if (world_.now_ms() < stopped_until_ms_) {
    deferred_.emplace_back(process, std::move(event));
    return;
  }
  event();
  Poke(process);
}

void SimWorker::Poke(const ProcessPtr& process) {
  if (process != process_ || world_.now_ms() < stopped_until_ms_) return;
  AskAgent(process);
  for (const Note& note : process->agent.TakeNotes())
    world_.Trace("  ", name(), ": ", note.text, " #", note.token, "@", note.step);
  if (process == process_ && process->agent.end()) return Exit(process);
  if (process == process_) PlanPoke(process);
}

void SimWorker::PlanPoke(const ProcessPtr& process) {
  const int64_t wait_ms = process->agent.NextDueMs(LocalMs(*process)) - LocalMs(*process);
  const int64_t at_ms =
      world_.now_ms() + static_cast<int64_t>(static_cast<double>(wait_ms) / profile_.clock_rate) + 1;
  if (process->next_poke_ms > world_.now_ms() && process->next_poke_ms <= at_ms) return;
  process->next_poke_ms = at_ms;
  world_.At(at_ms, [this, process, at_ms] {
    if (process->next_poke_ms == at_ms) Poke(process);
  });
}

void SimWorker::AskAgent(const ProcessPtr& process) {
  Agent& agent = process->agent;
  const int64_t now_ms = LocalMs(*process);
  if (process->call != nullptr && agent.StopsCall(now_ms)) {
    const std::shared_ptr<PendingCall> call = std::exchange(process->call, nullptr);
    world_.After(0, [call] { call->Break(absl::CancelledError("broken off")); });
  }
  if (process->is_working && !process->is_stopping_work && agent.StopsWork(now_ms)) {
    process->is_stopping_work = true;
    ++process->work_number;
    EndWorkAfter(process, world_.DrawMs(0, 300), [] {
      return WorkEnd{.status = absl::CancelledError("broken off"), .result = {}, .failed_layers = {}};
    });
  }
  if (const auto call = agent.NextCall(now_ms)) Make(process, *call);
  if (const auto heartbeat = agent.NextHeartbeat(now_ms)) SendHeartbeat(process, *heartbeat);
  if (const auto work = agent.NextWork(now_ms)) Begin(process, *work);
}

// ---- calls

void SimWorker::EndCall(const ProcessPtr& process, const absl::Status& status, AgentReply reply) {
  In(process, [this, process, status, reply = std::move(reply)] {
    process->call = nullptr;
    process->agent.OnCallEnd(LocalMs(*process), status, reply);
  });
}

// What the process has decided to send goes out a little later; when it is stopped in between, much later.
template <class Reply, class Request>
void SimWorker::Send(const ProcessPtr& process, const std::string& name,
                     SimOrchestrator::Method<Reply, Request> method, const Request& request,
                     int64_t deadline_ms) {
  world_.After(world_.DrawMs(0, 3), [=, this] {
    In(process, [=, this] {
      process->call = network_.Call<Reply>(
          this->name(), deadline_ms,
          [=, this](Delivery delivery, const Respond<Reply>& respond) {
            orchestrator_.Serve<Reply>(name, method, request, delivery, respond);
          },
          [=, this](const absl::StatusOr<Reply>& reply) {
            world_.Trace(this->name(), " ", name, ": ", reply.status().ToString());
            if constexpr (std::is_constructible_v<AgentReply, Reply>) {
              EndCall(process, reply.status(), reply.ok() ? AgentReply(*reply) : AgentReply());
            } else {
              EndCall(process, reply.status(), {});
            }
          });
    });
  });
}

void SimWorker::Make(const ProcessPtr& process, const AgentCall& call) {
  const bool is_write = std::holds_alternative<v1::BeginPublishRequest>(call) ||
                        std::holds_alternative<v1::CommitPublishRequest>(call) ||
                        std::holds_alternative<v1::CompleteRequest>(call);
  if (is_write && world_.Chance(faults_.late_write)) Stop(world_.DrawMs(15'000, 50'000));
  const int64_t short_ms = Ms(kCallDeadline), synced_ms = Ms(kSyncedWriteDeadline);
  if (const auto* request = std::get_if<v1::RegisterRequest>(&call)) {
    Send(process, "Register", &Coordinator::Register, *request, short_ms);
  } else if (const auto* request = std::get_if<v1::LeaseRequest>(&call)) {
    process->call = network_.Call<v1::LeaseReply>(
        name(), Ms(kLeaseDeadline),
        [this, request = *request](Delivery delivery, const Respond<v1::LeaseReply>& respond) {
          orchestrator_.ServeLease(request, delivery, respond);
        },
        [this, process](const absl::StatusOr<v1::LeaseReply>& reply) {
          EndCall(process, reply.status(), reply.ok() ? AgentReply(*reply) : AgentReply());
        });
  } else if (const auto* order = std::get_if<DescribeOrder>(&call)) {
    world_.After(world_.DrawMs(1, 50), [this, process, saved = order->saved] {
      EndCall(process, absl::OkStatus(), DescribeLayers(*saved));
    });
  } else if (const auto* request = std::get_if<v1::BeginPublishRequest>(&call)) {
    Send(process, "BeginPublish", &Coordinator::BeginPublish, *request, synced_ms);
  } else if (const auto* order = std::get_if<UploadOrder>(&call)) {
    Upload(process, *order);
  } else if (const auto* request = std::get_if<v1::CommitPublishRequest>(&call)) {
    Send(process, "CommitPublish", &Coordinator::CommitPublish, *request, synced_ms);
  } else if (const auto* request = std::get_if<v1::CompleteRequest>(&call)) {
    Send(process, "Complete", &Coordinator::Complete, *request, synced_ms);
  } else if (const auto* request = std::get_if<v1::FailRequest>(&call)) {
    Send(process, "Fail", &Coordinator::Fail, *request, short_ms);
  } else if (const auto* request = std::get_if<v1::ReleaseLeaseRequest>(&call)) {
    Send(process, "ReleaseLease", &Coordinator::ReleaseLease, *request, short_ms);
  } else if (const auto* request = std::get_if<v1::LeaveRequest>(&call)) {
    Send(process, "Leave", &Coordinator::Leave, *request, short_ms);
  }
}

void SimWorker::SendHeartbeat(const ProcessPtr& process, const v1::HeartbeatRequest& request) {
  network_.Call<v1::HeartbeatReply>(
      name(), process->agent.heartbeat_deadline_ms(),
      [this, request](Delivery delivery, const Respond<v1::HeartbeatReply>& respond) {
        orchestrator_.Serve<v1::HeartbeatReply>("Heartbeat", &Coordinator::Heartbeat, request, delivery,
                                                respond);
      },
      [this, process](const absl::StatusOr<v1::HeartbeatReply>& reply) {
        In(process, [this, process, reply] {
          if (reply.ok() && reply->verdict().has_relay()) TakeRelayOrders(process, reply->verdict());
          process->agent.OnHeartbeatEnd(LocalMs(*process), reply);
        });
      });
}

// A stream on one connection: in order, and broken by what a message would be lost by.
void SimWorker::Upload(const ProcessPtr& process, const UploadOrder& order) {
  struct Stream {
    explicit Stream(const UploadOrder& order)
        : order(order), chunks(*this->order.saved, this->order.missing) {}
    const UploadOrder order;
    ChunkSequence chunks;
    uint64_t start = 0;
    bool is_open = false;
    std::function<void()> next;
  };
  auto stream = std::make_shared<Stream>(order);
  const auto call = network_.Open<v1::UploadChunksReply>(
      Ms(UploadDeadline(stream->chunks.bytes())),
      [this, process, stream](const absl::StatusOr<v1::UploadChunksReply>& reply) {
        stream->next = nullptr;
        world_.Trace(name(), " UploadChunks: ", reply.status().ToString());
        EndCall(process, reply.status(), {});
      });
  process->call = call;
  stream->next = [this, stream, call] {
    if (call->has_ended() || network_.IsLost(name())) {  // broken off by one side, or by the way
      if (stream->is_open) orchestrator_.BreakUpload(stream->start, stream->order.header);
      return call->Break(absl::UnavailableError("the connection broke"));
    }
    absl::Status status;
    v1::TensorChunk chunk;
    if (!stream->is_open) {
      stream->start = orchestrator_.starts();
      status = orchestrator_.OpenUpload(stream->order.header);
      stream->is_open = status.ok();
    } else if (stream->chunks.Next(chunk)) {
      status = orchestrator_.AppendChunk(stream->start, stream->order.header, chunk);
    } else {
      return call->End(v1::UploadChunksReply());
    }
    if (!status.ok()) return call->Break(status);
    world_.After(world_.DrawMs(1, profile_.chunk_ms), [stream] {
      const auto next = stream->next;
      if (next) next();
    });
  };
  world_.After(network_.DelayMs(), [stream] {
    const auto next = stream->next;
    if (next) next();
  });
}

// ---- work

absl::Status SimWorker::DrawFault() {
  if (world_.Chance(faults_.machine)) return absl::ResourceExhaustedError("no memory");
  return absl::OkStatus();
}

void SimWorker::EndWorkAfter(const ProcessPtr& process, int64_t wait_ms, std::function<WorkEnd()> end) {
  world_.After(wait_ms, [this, process, number = process->work_number, end = std::move(end)] {
    In(process, [this, process, number, end] {
      if (number != process->work_number || !process->is_working) return;
      process->is_working = process->is_stopping_work = false;
      process->agent.OnWorkEnd(LocalMs(*process), end());
    });
  });
}

// A step is taken in a generation of the gang, or not at all for now. No collective tells a rank that rank 0
// has gone: the others leave their generation after every step.
void SimWorker::JoinGang(const ProcessPtr& process) {
  v1::JoinGangRequest request;
  request.set_worker_id(process->registration.worker_id());
  request.set_epoch(process->agent.epoch());
  request.set_token(token());
  if (process->chain->is_led()) request.set_after_generation(process->generation);
  network_.Call<v1::JoinGangReply>(
      name(), Ms(kCallDeadline),
      [this, request](Delivery delivery, const Respond<v1::JoinGangReply>& respond) {
        orchestrator_.Serve<v1::JoinGangReply>("JoinGang", &Coordinator::JoinGang, request, delivery,
                                               respond);
      },
      [this, process, number = process->work_number](const absl::StatusOr<v1::JoinGangReply>& reply) {
        In(process, [this, process, number, reply] {
          if (number != process->work_number || !process->is_working) return;
          if (reply.ok() && reply->generation() != 0) {
            process->generation = reply->generation();
            return TakeStep(process);
          }
          EndWithoutStep(process, world_.DrawMs(500, 1'500));
        });
      });
}

void SimWorker::EndWithoutStep(const ProcessPtr& process, int64_t wait_ms) {
  EndWorkAfter(process, wait_ms, [] {
    return WorkEnd{.status = absl::OkStatus(), .result = StepReport(), .failed_layers = {}};
  });
}

// ---- the relay

void SimWorker::TakeRelayOrders(const ProcessPtr& process, const v1::LeaseVerdict& verdict) {
  const v1::RelayOrders& orders = verdict.relay();
  const Holding* const holding = process->agent.holding();
  const bool is_of_slice =
      holding != nullptr && holding->token() == verdict.token() && !holding->layers().empty();
  if (orders.has_upstream() && is_of_slice) {
    const bool is_own = orders.upstream().address() == process->registration.activation_address();
    if (is_own || orders.upstream().boundary() > holding->layers().rbegin()->first) {
      world_.Violation(name(), " is to pull boundary ", orders.upstream().boundary(), " from ",
                       orders.upstream().address(), ", which is not below it");
    }
  }
  process->relay.TakeOrders(verdict.token(), orders);
}

// nullptr: nobody answers under this address.
const SimRelay* SimWorker::FindPeer(const v1::RelayUpstream& upstream) {
  const auto found = peers_.find(upstream.worker_name());
  if (found == peers_.end() || !found->second->is_up()) return nullptr;
  const SimWorker& peer = *found->second;
  const bool is_it = peer.process_->registration.activation_address() == upstream.address();
  const bool hears =
      world_.now_ms() >= peer.stopped_until_ms_ && !network_.IsLost(name()) && !network_.IsLost(peer.name());
  return is_it && hears ? &peer.process_->relay : nullptr;
}

void SimWorker::TakeStepOfLayers(const ProcessPtr& process) {
  process->relay.SetPlace(*process->chain);
  if (!process->relay.MayTrain()) return EndWithoutStep(process, 1'000);
  const std::optional<v1::RelayUpstream> upstream = process->relay.upstream();
  if (!upstream) return TakeStep(process);
  world_.After(network_.DelayMs(), [this, process, upstream, number = process->work_number] {
    In(process, [this, process, upstream, number] {
      if (number == process->work_number && process->is_working) Pull(process, *upstream);
    });
  });
}

void SimWorker::Pull(const ProcessPtr& process, const v1::RelayUpstream& upstream) {
  constexpr int64_t kSilenceMs = 5'000;
  const SimRelay* const peer = FindPeer(upstream);
  const SimRelay::Answer answer =
      peer == nullptr ? SimRelay::Answer::kNotLoaded : peer->AnswerTo(process->relay, upstream.boundary());
  const int64_t hop_ms = world_.DrawMs(1, 300);
  int64_t wait_ms = hop_ms;
  switch (answer) {
    case SimRelay::Answer::kComes:
      process->has_lost_upstream = false;
      return EndWithoutStep(process, world_.DrawMs(100, 1'000));
    case SimRelay::Answer::kByTeacher:
      wait_ms += world_.DrawMs(10, 500);
      [[fallthrough]];
    case SimRelay::Answer::kAtHand:
      process->has_lost_upstream = false;
      process->relay.CountHop(static_cast<double>(hop_ms) / 1'000);
      ++(answer == SimRelay::Answer::kAtHand ? inputs_.pulled : inputs_.by_teacher);
      break;
    case SimRelay::Answer::kNotLoaded:
      ++inputs_.recomputed_for_want;
      wait_ms = std::exchange(process->has_lost_upstream, true) ? 0 : kSilenceMs;
  }
  world_.After(wait_ms, [this, process, number = process->work_number] {
    In(process, [this, process, number] {
      if (number == process->work_number && process->is_working) TakeStep(process);
    });
  });
}

// ---- steps

void SimWorker::TakeStep(const ProcessPtr& process) {
  const auto failed = [](const absl::Status& status) {
    return WorkEnd{.status = status, .result = {}, .failed_layers = {}};
  };
  const absl::Status fault = DrawFault();
  const double seconds = profile_.seconds_per_layer;
  const int64_t ms =
      static_cast<int64_t>(1'000 * seconds * static_cast<double>(process->chain->layers() + 1));
  EndWorkAfter(process, world_.DrawMs(ms / 2, ms), [process, fault, failed, seconds] {
    if (!fault.ok()) return failed(fault);
    if (const std::vector<uint32_t> layers = process->chain->DoomedLayers(); !layers.empty()) {
      return WorkEnd{.status = absl::InvalidArgumentError("the loss is not a number"),
                     .result = {},
                     .failed_layers = layers};
    }
    StepReport report = process->chain->Step(seconds);
    process->relay.Report(report);
    return WorkEnd{.status = fault, .result = report, .failed_layers = {}};
  });
}

void SimWorker::Begin(const ProcessPtr& process, const Work& work) {
  process->is_working = true;
  process->is_stopping_work = false;
  ++process->work_number;
  const auto failed = [](const absl::Status& status) {
    return WorkEnd{.status = status, .result = {}, .failed_layers = {}};
  };
  if (const auto* order = std::get_if<PrepareOrder>(&work)) {
    absl::Status fault = DrawFault();
    if (world_.Chance(faults_.wrong_input)) fault = absl::NotFoundError("teacher: no such directory");
    EndWorkAfter(process, world_.DrawMs(300, 4'000), [this, fault, failed, job = order->slice.job()] {
      if (!fault.ok()) return failed(fault);
      return WorkEnd{.status = fault, .result = Prepare(job, profile_.teacher_layers), .failed_layers = {}};
    });
  } else if (const auto* order = std::get_if<LoadOrder>(&work)) {
    Load(process, order->slice);
  } else if (std::holds_alternative<StepOrder>(work)) {
    oracle_.OnStepBegins(name(), token());
    if (process->chain->is_in_gang()) {
      JoinGang(process);
    } else if (process->chain->is_of_layers()) {
      TakeStepOfLayers(process);
    } else {
      TakeStep(process);
    }
  } else if (const auto* order = std::get_if<CopyOrder>(&work)) {
    EndWorkAfter(process, world_.DrawMs(0, 20), [process, order = *order] {
      WorkEnd end;
      end.result = process->chain->Copy(order.copy);
      process->chain->Drop(order.drop);
      return end;
    });
  } else if (std::holds_alternative<MakeResultOrder>(work)) {
    const absl::Status fault = DrawFault();
    EndWorkAfter(process, world_.DrawMs(500, 6'000), [process, fault, failed] {
      if (!fault.ok()) return failed(fault);
      return WorkEnd{
          .status = fault, .result = std::vector<SavedLayer>{process->chain->Result()}, .failed_layers = {}};
    });
  } else {
    EndWorkAfter(process, 0, [process] {
      process->chain.reset();
      process->relay.EndSlice();
      return WorkEnd();
    });
  }
}

void SimWorker::Load(const ProcessPtr& process, const v1::Slice& slice) {
  auto loading = std::make_shared<Loading>();
  loading->slice = slice;
  for (const v1::SliceLayer& layer : slice.layers()) {
    if (!layer.has_checkpoint()) continue;
    const bool is_own = layer.checkpoint().stage() == slice.stage();
    loading->to_fetch.emplace_back(layer.checkpoint(), is_own ? "" : "student/");
  }
  for (const v1::CheckpointRef& reference : slice.handover()) {
    if (!slice.layers(0).has_checkpoint()) loading->to_fetch.emplace_back(reference, "student/");
  }
  const uint64_t number = process->work_number;
  const int64_t measures_ms = slice.stage() == v1::STAGE_END_TO_END ? world_.DrawMs(0, 20'000) : 0;
  world_.After(measures_ms + world_.DrawMs(100, 2'000), [this, process, number, loading] {
    In(process, [this, process, number, loading] { FetchNext(process, number, loading); });
  });
}

void SimWorker::FetchNext(const ProcessPtr& process, uint64_t work_number,
                          const std::shared_ptr<Loading>& loading) {
  if (work_number != process->work_number) return;
  const size_t index = loading->fetched.size();
  if (index == loading->to_fetch.size()) return EndLoad(process, work_number, absl::OkStatus(), *loading);
  v1::FetchCheckpointRequest request;
  request.set_worker_id(process->registration.worker_id());
  request.set_epoch(process->agent.epoch());
  request.set_run_id(loading->slice.run_id());
  *request.mutable_checkpoint() = loading->to_fetch[index].first;
  request.set_name_prefix(loading->to_fetch[index].second);
  using Stream = std::vector<v1::FetchCheckpointReply>;
  const auto receive = [=, this](const absl::StatusOr<Stream>& stream) -> absl::Status {
    if (!stream.ok()) return absl::IsNotFound(stream.status()) ? absl::AbortedError("gone") : stream.status();
    CheckpointAssembly assembly(request.checkpoint(), loading->slice.identity_sha256());
    for (const v1::FetchCheckpointReply& message : *stream) {
      if (absl::Status status = assembly.Add(message); !status.ok()) return status;
    }
    absl::StatusOr<SavedLayer> layer = assembly.Finish();
    if (layer.ok()) loading->fetched.push_back(*std::move(layer));
    return layer.status();
  };
  network_.Call<Stream>(
      name(), Ms(kStreamSilence),
      [this, request](Delivery delivery, const Respond<Stream>& respond) {
        orchestrator_.ServeFetch(request, delivery, respond);
      },
      [=, this](const absl::StatusOr<Stream>& stream) {
        In(process, [=, this] {
          if (work_number != process->work_number) return;
          const absl::Status status = receive(stream);
          if (status.ok()) return FetchNext(process, work_number, loading);
          if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) {
            return EndLoad(process, work_number, status, *loading);
          }
          world_.After(RepeatWaitMs(++loading->failures, world_.Draw(0, ~uint64_t{0} >> 1)),
                       [=, this] { In(process, [=, this] { FetchNext(process, work_number, loading); }); });
        });
      });
}

void SimWorker::EndLoad(const ProcessPtr& process, uint64_t work_number, const absl::Status& status,
                        const Loading& loading) {
  if (work_number != process->work_number || process->is_stopping_work) return;
  absl::Status end = status;
  if (end.ok()) end = DrawFault();
  if (end.ok() && world_.Chance(faults_.wrong_input)) end = absl::FailedPreconditionError("another teacher");
  if (end.ok()) {
    absl::StatusOr<ChainWork> chain = ChainWork::Load(loading.slice, loading.fetched);
    end = chain.status();
    if (chain.ok()) process->chain = *std::move(chain);
    if (chain.ok() && loading.slice.stage() == v1::STAGE_END_TO_END) process->relay.Clear();
    if (chain.ok() && loading.slice.stage() != v1::STAGE_END_TO_END) process->relay.BeginSlice(loading.slice);
  } else if (absl::IsDataLoss(end) || absl::IsInvalidArgument(end)) {
    world_.Violation(name(), " cannot load: ", end.ToString());
  }
  process->is_working = false;
  world_.Trace(name(), " loads ", loading.slice.layers_size(), " layers: ", end.ToString());
  process->agent.OnWorkEnd(LocalMs(*process), {.status = end, .result = {}, .failed_layers = {}});
}

}  // namespace retort::sim
