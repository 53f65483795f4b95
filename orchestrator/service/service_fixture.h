// For tests: a server on loopback with its store on the disk, and the calls of users and workers as verbs.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/rpc/call.h"
#include "core/rpc/channel.h"
#include "core/store/store_fixture.h"
#include "orchestrator/service/server.h"
#include "orchestrator/state/testing_cluster.h"
#include "retort/v1/run_service.grpc.pb.h"
#include "retort/v1/worker_service.grpc.pb.h"

namespace retort::orchestrator {

using UserStub = v1::RunService::Stub;
using WorkerStub = v1::WorkerService::Stub;
// Tensors or files of a publish.
using Tensors = std::vector<NamedBytes>;

// A worker that does its work at once.
class FakeWorker {
 public:
  FakeWorker(const std::string& address, std::string name)
      : stub(v1::WorkerService::NewStub(MakeChannel(address))), name_(std::move(name)) {}

  absl::Status Register() {
    ASSIGN_OR_RETURN(const v1::RegisterReply reply,
                     Call(*stub, &WorkerStub::Register, TestCluster::RegistrationOf(name_), kCallDeadline));
    epoch_ = reply.epoch();
    return absl::OkStatus();
  }

  template <class Request>
  Request From(uint64_t token = 0) const {
    Request request;
    request.set_worker_id(TestCluster::IdOfWorker(name_));
    request.set_epoch(epoch_);
    if constexpr (requires { request.set_token(token); }) request.set_token(token);
    return request;
  }

  // Waits for work.
  absl::StatusOr<v1::Slice> Lease() {
    while (true) {
      ASSIGN_OR_RETURN(const v1::LeaseReply reply,
                       Call(*stub, &WorkerStub::Lease, From<v1::LeaseRequest>(), kLeaseDeadline));
      if (reply.has_slice()) return reply.slice();
    }
  }

  absl::StatusOr<v1::HeartbeatReply> Heartbeat(const v1::Slice& slice) {
    auto request = From<v1::HeartbeatRequest>();
    request.mutable_progress()->set_token(slice.token());
    request.mutable_progress()->set_phase(v1::SLICE_PHASE_TRAINING);
    return Call(*stub, &WorkerStub::Heartbeat, request, std::chrono::seconds(4));
  }

  absl::StatusOr<v1::BeginPublishReply> Begin(const v1::Slice& slice, uint64_t step, const Tensors& tensors,
                                              v1::PublishKind kind = v1::PUBLISH_KIND_CHECKPOINT) {
    auto request = From<v1::BeginPublishRequest>(slice.token());
    request.set_kind(kind);
    request.set_identity_sha256(slice.identity_sha256());
    for (const v1::SliceLayer& layer : slice.layers()) {
      v1::LayerCheckpoint& checkpoint = *request.add_layers();
      checkpoint.set_layer(layer.layer());
      checkpoint.set_step(step);
      const v1::ManifestRecord declared = Declare(slice.run_id(), layer.layer(), step, tensors);
      for (const v1::StoredTensor& tensor : declared.tensors()) *checkpoint.add_tensors() = tensor.info();
    }
    return Call(*stub, &WorkerStub::BeginPublish, request, kSyncedWriteDeadline);
  }

  absl::Status Upload(const v1::BeginPublishReply& begun, const Tensors& tensors,
                      std::chrono::milliseconds deadline = std::chrono::minutes(1)) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + deadline);
    v1::UploadChunksReply reply;
    const auto writer = stub->UploadChunks(&context, &reply);
    v1::UploadChunksRequest message;
    *message.mutable_header() = From<v1::UploadHeader>();
    message.mutable_header()->set_publish(begun.publish());
    writer->Write(message);
    for (int i = 0; i < begun.missing_size(); ++i) {
      const std::string& bytes = tensors[begun.missing(i).tensor()].bytes;
      for (size_t offset = 0; offset < bytes.size(); offset += kChunkBytes) {
        v1::TensorChunk& chunk = *message.mutable_chunk();
        chunk.set_index(static_cast<uint32_t>(i));
        chunk.set_offset_bytes(offset);
        chunk.set_data(bytes.substr(offset, kChunkBytes));
        chunk.set_crc32c(Crc32c(chunk.data()));
        writer->Write(message);
      }
    }
    writer->WritesDone();
    return FromGrpc(writer->Finish());
  }

  absl::Status Commit(const v1::Slice& slice, uint64_t publish) {
    auto request = From<v1::CommitPublishRequest>(slice.token());
    request.set_publish(publish);
    return Call(*stub, &WorkerStub::CommitPublish, request, kSyncedWriteDeadline).status();
  }

  absl::Status Publish(const v1::Slice& slice, uint64_t step, const Tensors& tensors,
                       v1::PublishKind kind = v1::PUBLISH_KIND_CHECKPOINT) {
    ASSIGN_OR_RETURN(const v1::BeginPublishReply begun, Begin(slice, step, tensors, kind));
    RETURN_IF_ERROR(Upload(begun, tensors));
    return Commit(slice, begun.publish());
  }

  // Tensors in the stream's order.
  absl::StatusOr<Tensors> Fetch(uint64_t run_id, const v1::CheckpointRef& checkpoint) {
    auto request = From<v1::FetchCheckpointRequest>();
    request.set_run_id(run_id);
    *request.mutable_checkpoint() = checkpoint;
    grpc::ClientContext context;
    const auto reader = stub->FetchCheckpoint(&context, request);
    Tensors tensors;
    v1::FetchCheckpointReply reply;
    while (reader->Read(&reply)) {
      for (const v1::TensorInfo& info : reply.info().tensors()) tensors.push_back({info.name(), ""});
      if (reply.has_chunk()) tensors[reply.chunk().index()].bytes += reply.chunk().data();
    }
    RETURN_IF_ERROR(FromGrpc(reader->Finish()));
    return tensors;
  }

  absl::Status Complete(const v1::Slice& slice) {
    auto request = From<v1::CompleteRequest>(slice.token());
    for (const v1::SliceLayer& layer : slice.layers()) request.add_layers(layer.layer());
    if (slice.stage() == v1::STAGE_PREPARE) *request.mutable_prepared() = Prepared(slice.job(), 2);
    return Call(*stub, &WorkerStub::Complete, request, kSyncedWriteDeadline).status();
  }

  static Tensors Files() {
    return {{"metrics.jsonl", "m"}, {"result.json", "{}"}, {"student/w", Noise(4 * kChunkBytes + 1, 9)}};
  }

  // From its grant to its end.
  absl::Status DoSlice(const v1::Slice& slice) {
    if (slice.stage() != v1::STAGE_PREPARE) {
      const uint64_t step = slice.layers(0).total_steps();
      RETURN_IF_ERROR(Publish(slice, step, {{"student/w", Noise(2 * kChunkBytes + 10, slice.stage())}}));
      if (slice.stage() == v1::STAGE_END_TO_END) {
        RETURN_IF_ERROR(Publish(slice, step, Files(), v1::PUBLISH_KIND_RESULT));
      }
    }
    return Complete(slice);
  }

  const std::unique_ptr<WorkerStub> stub;

 private:
  const std::string name_;
  uint64_t epoch_ = 0;
};

inline absl::StatusOr<uint64_t> SubmitSix(UserStub& user, const std::string& name = "six") {
  v1::SubmitRequest request;
  request.set_request_id("submit " + name);
  *request.mutable_job() = SixLayerJob(name);
  ASSIGN_OR_RETURN(const v1::SubmitReply reply, Call(user, &UserStub::Submit, request, kCallDeadline));
  return reply.run_id();
}

}  // namespace retort::orchestrator
