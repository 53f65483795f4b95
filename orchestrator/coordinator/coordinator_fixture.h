// For tests: a coordinator on a store in memory with a virtual clock, and a worker's calls as verbs.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "core/store/store_fixture.h"
#include "orchestrator/coordinator/coordinator.h"
#include "orchestrator/state/testing_cluster.h"

namespace retort::orchestrator {

// A tensor or file of a publish.
using Tensors = std::vector<NamedBytes>;

class CoordinatorOnDisk {
 public:
  explicit CoordinatorOnDisk(rocksdb::Env* its_env) : env(its_env) {}

  // Another process on the same disk.
  absl::Status Start() {
    coordinator.reset();
    store.reset();
    ASSIGN_OR_RETURN(store, Store::Open(kMemoryPath, env));
    const auto clock = [this] {
      Moment moment = now;
      moment.random = ++drawn;
      return moment;
    };
    ASSIGN_OR_RETURN(coordinator, Coordinator::Start(*store, options, clock, log));
    return absl::OkStatus();
  }

  void Advance(int64_t ms) {
    now.steady_ms += ms;
    now.unix_ms += ms;
  }

  absl::StatusOr<uint64_t> Submit(const std::string& name = "six") {
    v1::SubmitRequest request;
    request.set_request_id("submit " + name);
    *request.mutable_job() = SixLayerJob(name);
    ASSIGN_OR_RETURN(const v1::SubmitReply reply, coordinator->Submit(request));
    return reply.run_id();
  }

  template <class Request>
  Request From(const std::string& worker, uint64_t token = 0) const {
    Request request;
    request.set_worker_id(TestCluster::IdOfWorker(worker));
    request.set_epoch(store->epoch());
    if constexpr (requires { request.set_token(token); }) request.set_token(token);
    return request;
  }

  absl::Status Register(const std::string& worker) {
    return coordinator->Register(TestCluster::RegistrationOf(worker)).status();
  }

  absl::StatusOr<v1::HeartbeatReply> Heartbeat(const std::string& worker, uint64_t token = 0) {
    auto request = From<v1::HeartbeatRequest>(worker);
    if (token != 0) {
      request.mutable_progress()->set_token(token);
      request.mutable_progress()->set_phase(v1::SLICE_PHASE_TRAINING);
    }
    return coordinator->Heartbeat(request);
  }

  // A new plan, and what it has for the worker.
  absl::StatusOr<v1::Slice> TakeSlice(const std::string& worker) {
    Advance(options.replan_interval_ms);
    coordinator->Tick();
    ASSIGN_OR_RETURN(const v1::LeaseReply reply, coordinator->Lease(From<v1::LeaseRequest>(worker)));
    return reply.slice();
  }

  v1::BeginPublishRequest Describe(const std::string& worker, const v1::Slice& slice, uint64_t step,
                                   const Tensors& tensors,
                                   v1::PublishKind kind = v1::PUBLISH_KIND_CHECKPOINT) const {
    auto request = From<v1::BeginPublishRequest>(worker, slice.token());
    request.set_kind(kind);
    request.set_identity_sha256(slice.identity_sha256());
    for (const v1::SliceLayer& layer : slice.layers()) {
      v1::LayerCheckpoint& checkpoint = *request.add_layers();
      checkpoint.set_layer(layer.layer());
      checkpoint.set_step(step);
      checkpoint.set_loss(1.0 / static_cast<double>(step + 1));
      const v1::ManifestRecord declared = Declare(slice.run_id(), layer.layer(), step, tensors);
      for (const v1::StoredTensor& tensor : declared.tensors()) *checkpoint.add_tensors() = tensor.info();
    }
    return request;
  }

  absl::Status Upload(const std::string& worker, const v1::BeginPublishReply& begun, const Tensors& tensors) {
    auto header = From<v1::UploadHeader>(worker);
    header.set_publish(begun.publish());
    RETURN_IF_ERROR(coordinator->OpenUpload(header));
    RETURN_IF_ERROR(coordinator->StartUpload(header));
    for (int i = 0; i < begun.missing_size(); ++i) {
      const std::string& bytes = tensors[begun.missing(i).tensor()].bytes;
      for (size_t offset = 0; offset < bytes.size(); offset += kChunkBytes) {
        v1::TensorChunk chunk;
        chunk.set_index(static_cast<uint32_t>(i));
        chunk.set_offset_bytes(offset);
        chunk.set_data(bytes.substr(offset, kChunkBytes));
        chunk.set_crc32c(Crc32c(chunk.data()));
        RETURN_IF_ERROR(coordinator->AppendChunk(header, chunk));
      }
    }
    return coordinator->FinishUpload(header);
  }

  absl::Status Commit(const std::string& worker, uint64_t token, uint64_t publish) {
    auto request = From<v1::CommitPublishRequest>(worker, token);
    request.set_publish(publish);
    return coordinator->CommitPublish(request).status();
  }

  absl::Status Publish(const std::string& worker, const v1::Slice& slice, uint64_t step,
                       const Tensors& tensors, v1::PublishKind kind = v1::PUBLISH_KIND_CHECKPOINT) {
    ASSIGN_OR_RETURN(const v1::BeginPublishReply begun,
                     coordinator->BeginPublish(Describe(worker, slice, step, tensors, kind)));
    RETURN_IF_ERROR(Upload(worker, begun, tensors));
    return Commit(worker, slice.token(), begun.publish());
  }

  absl::Status Complete(const std::string& worker, const v1::Slice& slice) {
    auto request = From<v1::CompleteRequest>(worker, slice.token());
    for (const v1::SliceLayer& layer : slice.layers()) request.add_layers(layer.layer());
    if (slice.stage() == v1::STAGE_PREPARE) *request.mutable_prepared() = Prepared(slice.job(), 2);
    return coordinator->Complete(request).status();
  }

  // A whole slice from its grant to its end.
  absl::Status DoSlice(const std::string& worker, const v1::Slice& slice) {
    if (slice.stage() != v1::STAGE_PREPARE) {
      const uint64_t step = slice.layers(0).total_steps();
      const Tensors trained = {{"adam", Noise(50, step)},
                               {"student/w", Noise(kChunkBytes + 10, 100 * slice.stage() + step)}};
      RETURN_IF_ERROR(Publish(worker, slice, step, trained));
      if (slice.stage() == v1::STAGE_END_TO_END) {
        RETURN_IF_ERROR(Publish(worker, slice, step, Files(), v1::PUBLISH_KIND_RESULT));
      }
    }
    return Complete(worker, slice);
  }

  static Tensors Files() {
    return {{"metrics.jsonl", ""},
            {"result.json", "{}"},
            {"student/model.safetensors", Noise(kChunkBytes + 1, 9)}};
  }

  // Does slices until the run is over. An error ends it.
  absl::Status Work(const std::string& worker, uint64_t run_id) {
    while (true) {
      ASSIGN_OR_RETURN(const bool is_over, coordinator->IsOver(run_id));
      if (is_over) return absl::OkStatus();
      ASSIGN_OR_RETURN(const v1::Slice slice, TakeSlice(worker));
      if (slice.token() != 0) RETURN_IF_ERROR(DoSlice(worker, slice));
    }
  }

  std::vector<v1::Event> EventsOf(uint64_t run_id, v1::EventKind kind) const {
    const absl::StatusOr<WatchStep> step = coordinator->Watch(run_id, 0, 10'000);
    std::vector<v1::Event> found;
    for (const v1::Event& event : step->events) {
      if (event.kind() == kind) found.push_back(event);
    }
    return found;
  }

  rocksdb::Env* env;
  Options options;
  Moment now = {.steady_ms = 1'000'000, .unix_ms = 1'700'000'000'000, .random = 0};
  std::atomic<uint64_t> drawn = 0;
  Log log{v1::LOG_LEVEL_ERROR, [] { return int64_t{0}; }, {}};
  std::unique_ptr<Store> store;
  std::unique_ptr<Coordinator> coordinator;
};

}  // namespace retort::orchestrator
