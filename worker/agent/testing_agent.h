// For tests: an agent with a virtual clock, and the answers of orchestrator and work as verbs.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/agent/agent.h"
#include "worker/agent/saved.h"

namespace retort {

using Layers = std::vector<uint32_t>;

inline v1::Slice SliceOf(const std::vector<uint32_t>& layers, uint64_t next_step = 0,
                         uint64_t total_steps = 40) {
  v1::Slice slice;
  slice.set_token(41);
  slice.set_run_id(3);
  slice.set_stage(v1::STAGE_HIDDEN_STATE_ALIGNMENT);
  slice.mutable_job()->mutable_checkpoint()->set_every_steps(10);
  slice.set_identity_sha256("identity");
  slice.set_input(v1::INPUT_SOURCE_RECOMPUTE);
  for (const uint32_t number : layers) {
    v1::SliceLayer& layer = *slice.add_layers();
    layer.set_layer(number);
    layer.set_next_step(next_step);
    layer.set_total_steps(total_steps);
  }
  return slice;
}

template <class Repeated>
Layers NumbersOf(const Repeated& layers) {
  return Layers(layers.begin(), layers.end());
}
inline Layers LayersOf(const v1::BeginPublishRequest& publish) {
  Layers layers;
  for (const auto& layer : publish.layers()) layers.push_back(layer.layer());
  return layers;
}

class AgentTest : public testing::Test {
 protected:
  AgentTest() : agent(Registration(), /*seed=*/7) {}

  static v1::RegisterRequest Registration() {
    v1::RegisterRequest request;
    request.set_protocol_version(1);
    request.set_worker_id(17);
    request.set_name("w1");
    return request;
  }

  // ---- calls
  template <class T>
  T TakeCall() {
    const std::optional<AgentCall> call = agent.NextCall(now);
    if (!call) ADD_FAILURE() << "no call";
    if (call && !std::holds_alternative<T>(*call)) ADD_FAILURE() << "call " << call->index();
    return call && std::holds_alternative<T>(*call) ? std::get<T>(*call) : T();
  }
  // The same after the wait for a back-off.
  template <class T>
  T TakeCallLater() {
    for (int i = 0; i < 100; ++i) {
      const std::optional<AgentCall> call = agent.NextCall(now);
      if (call) {
        EXPECT_TRUE(std::holds_alternative<T>(*call)) << "call " << call->index();
        return std::holds_alternative<T>(*call) ? std::get<T>(*call) : T();
      }
      now = agent.NextDueMs(now);
    }
    ADD_FAILURE() << "no call";
    return T();
  }
  void ExpectNoCall() { EXPECT_EQ(agent.NextCall(now), std::nullopt); }
  void Answer(const absl::Status& status = absl::OkStatus(), AgentReply reply = {}) {
    agent.OnCallEnd(now, status, std::move(reply));
  }
  // The next call, answered.
  template <class T>
  T Make(AgentReply reply = {}) {
    T request = TakeCall<T>();
    Answer(absl::OkStatus(), std::move(reply));
    return request;
  }
  template <class T>
  T Refuse(const absl::Status& status) {
    T request = TakeCall<T>();
    Answer(status);
    return request;
  }

  void Register(uint64_t epoch = 5) {
    TakeCallLater<v1::RegisterRequest>();
    v1::RegisterReply reply;
    reply.set_epoch(epoch);
    reply.set_heartbeat_interval_ms(2'000);
    reply.set_lease_ttl_ms(20'000);
    reply.set_lease_margin_ms(5'000);
    Answer(absl::OkStatus(), reply);
  }
  void Grant(const v1::Slice& slice) {
    v1::LeaseReply reply;
    *reply.mutable_slice() = slice;
    Make<v1::LeaseRequest>(reply);
  }

  // ---- heartbeats
  v1::HeartbeatRequest SendHeartbeat() {
    std::optional<v1::HeartbeatRequest> request = agent.NextHeartbeat(now);
    if (!request && agent.NextDueMs(now) > now) {
      now += 2'000;
      request = agent.NextHeartbeat(now);
    }
    EXPECT_TRUE(request.has_value());
    return request.value_or(v1::HeartbeatRequest());
  }
  void AnswerHeartbeat(v1::LeaseAction action, v1::EndCause cause = v1::END_CAUSE_UNSPECIFIED,
                       const Layers& layers = {}, uint64_t token = 41) {
    v1::HeartbeatReply reply;
    reply.set_command(v1::WORKER_COMMAND_CONTINUE);
    reply.mutable_verdict()->set_token(token);
    reply.mutable_verdict()->set_action(action);
    reply.mutable_verdict()->set_cause(cause);
    reply.mutable_verdict()->mutable_layers()->Add(layers.begin(), layers.end());
    reply.mutable_verdict()->set_yield_within_ms(30'000);
    agent.OnHeartbeatEnd(now, reply);
  }
  v1::HeartbeatRequest Renew() {
    v1::HeartbeatRequest request = SendHeartbeat();
    AnswerHeartbeat(v1::LEASE_ACTION_CONTINUE);
    return request;
  }
  void Yield(const Layers& layers, v1::EndCause cause) {
    SendHeartbeat();
    AnswerHeartbeat(v1::LEASE_ACTION_YIELD, cause, layers);
  }
  void Stop(const Layers& layers, v1::EndCause cause) {
    SendHeartbeat();
    AnswerHeartbeat(v1::LEASE_ACTION_STOP, cause, layers);
  }

  // ---- work
  template <class T>
  T TakeWork() {
    const std::optional<Work> work = agent.NextWork(now);
    if (!work) ADD_FAILURE() << "no work";
    if (work && !std::holds_alternative<T>(*work)) ADD_FAILURE() << "work " << work->index();
    return work && std::holds_alternative<T>(*work) ? std::get<T>(*work) : T();
  }
  void ExpectNoWork() {
    const std::optional<Work> work = agent.NextWork(now);
    EXPECT_FALSE(work.has_value()) << "work " << work->index();
  }
  void EndWork(const absl::Status& status, const Layers& failed = {}) {
    agent.OnWorkEnd(now, {.status = status, .result = {}, .failed_layers = failed});
  }
  void Load() {
    loaded = TakeWork<LoadOrder>().slice;
    for (const v1::SliceLayer& layer : loaded.layers()) {
      steps[layer.layer()] = layer.next_step();
      totals[layer.layer()] = layer.total_steps();
    }
    EndWork(absl::OkStatus());
  }
  // A worker with this slice, loaded, with one heartbeat answered.
  void Begin(const v1::Slice& slice) {
    Register();
    Grant(slice);
    Renew();
    Load();
  }
  // Ends a step that was taken: the layers that the work has and whose turn it is.
  void EndStep() {
    uint64_t slowest = ~uint64_t{0};
    for (const auto& [layer, step] : steps) {
      if (step < totals[layer]) slowest = std::min(slowest, step);
    }
    StepReport report;
    report.teacher_seconds = 0.25;
    report.received_bytes = 4096;
    report.receive_seconds = 0.125;
    for (auto& [layer, step] : steps) {
      if (step != slowest || step == totals[layer]) continue;
      ++step;
      report.layers.push_back(
          {.layer = layer, .step = step, .loss = 1.0 / static_cast<double>(step), .seconds = 0.5});
    }
    agent.OnWorkEnd(now, {.status = absl::OkStatus(), .result = report, .failed_layers = {}});
  }
  void Step(int count = 1) {
    for (int i = 0; i < count; ++i) {
      TakeWork<StepOrder>();
      EndStep();
    }
  }
  CopyOrder Copy() {
    CopyOrder order = TakeWork<CopyOrder>();
    EndCopy(order);
    return order;
  }
  void EndCopy(const CopyOrder& order) {
    std::vector<SavedLayer> saved;
    for (const uint32_t layer : order.copy) {
      saved.push_back({.layer = layer, .step = steps[layer], .loss = 0.5, .tensors = {}});
      saved.back().tensors.push_back(
          {.name = "student/x", .dtype = v1::DATA_TYPE_U8, .shape = {2}, .bytes = "ab"});
    }
    for (const uint32_t layer : order.drop) steps.erase(layer);
    agent.OnWorkEnd(now, {.status = absl::OkStatus(), .result = std::move(saved), .failed_layers = {}});
  }

  // ---- publishes
  v1::BeginPublishRequest BeginPublish(uint64_t publish = 23, bool is_missing = true) {
    Describe();
    v1::BeginPublishRequest begin = TakeCall<v1::BeginPublishRequest>();
    AnswerBegin(begin, publish, is_missing);
    return begin;
  }
  void Describe() {
    const DescribeOrder order = TakeCall<DescribeOrder>();
    Answer(absl::OkStatus(), DescribeLayers(*order.saved));
  }
  void AnswerBegin(const v1::BeginPublishRequest& begin, uint64_t publish, bool is_missing = true) {
    v1::BeginPublishReply reply;
    reply.set_publish(publish);
    for (const auto& layer : begin.layers()) {
      if (is_missing) reply.add_missing()->set_layer(layer.layer());
    }
    Answer(absl::OkStatus(), reply);
  }
  v1::BeginPublishRequest Publish() {
    v1::BeginPublishRequest begin = BeginPublish();
    Make<UploadOrder>();
    Make<v1::CommitPublishRequest>();
    return begin;
  }

  Agent agent;
  int64_t now = 100'000;
  v1::Slice loaded;
  std::map<uint32_t, uint64_t> steps, totals;
};

}  // namespace retort
