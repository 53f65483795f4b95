// The services over real connections, with a real store.
#include <future>
#include <latch>
#include <ostream>
#include <sstream>
#include <thread>

#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"
#include "orchestrator/service/service_fixture.h"

namespace retort::orchestrator {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

class ServiceTest : public testing::Test {
 protected:
  ServiceTest() { Restart(); }

  void Restart() {
    server_.reset();
    options_.state_directory = directory_.path();
    options_.scheduling.lease_ttl_ms = 600'000;  // these workers send no heartbeats, and may be slow
    auto started = Server::Start(options_);
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    user_ = v1::RunService::NewStub(MakeChannel(server_->address()));
  }

  // A worker that holds the slice of stage 1 of a run.
  v1::Slice TakeFirstSlice(FakeWorker& worker) {
    EXPECT_EQ(worker.Register(), absl::OkStatus());
    EXPECT_EQ(SubmitSix(*user_).status(), absl::OkStatus());
    EXPECT_EQ(worker.DoSlice(worker.Lease().value()), absl::OkStatus());
    return worker.Lease().value();
  }

  TemporaryDirectory directory_;
  ServerOptions options_ = {.listen = "127.0.0.1:0"};
  std::unique_ptr<Server> server_;
  std::unique_ptr<UserStub> user_;
};

// All of a Watch until it ends.
struct Watched {
  std::vector<v1::EventKind> events;
  std::vector<v1::RunStatus> snapshots;
  absl::Status status;
};

Watched WatchAll(UserStub& user, uint64_t run_id, uint64_t after_sequence = 0) {
  v1::WatchRequest request;
  request.mutable_run()->set_id(run_id);
  request.set_after_sequence(after_sequence);
  grpc::ClientContext context;
  const auto reader = user.Watch(&context, request);
  Watched watched;
  v1::WatchReply reply;
  while (reader->Read(&reply)) {
    if (reply.has_event()) watched.events.push_back(reply.event().kind());
    if (reply.has_snapshot()) watched.snapshots.push_back(reply.snapshot());
  }
  watched.status = FromGrpc(reader->Finish());
  return watched;
}

TEST_F(ServiceTest, TakesARunFromSubmitToItsFilesWhileAUserWatches) {
  FakeWorker worker(server_->address(), "w1");
  ASSERT_EQ(worker.Register(), absl::OkStatus());
  absl::StatusOr<v1::Slice> first;
  std::thread waiting([&] { first = worker.Lease(); });  // before there is work
  const uint64_t run_id = SubmitSix(*user_).value();
  Watched watched;
  std::thread watching([&] { watched = WatchAll(*user_, run_id); });
  waiting.join();
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_EQ(worker.DoSlice(*first), absl::OkStatus());
  for (int slices = 0; slices < 3; ++slices) {
    const absl::StatusOr<v1::Slice> slice = worker.Lease();
    ASSERT_TRUE(slice.ok()) << slice.status();
    ASSERT_EQ(worker.DoSlice(*slice), absl::OkStatus());
  }
  watching.join();
  EXPECT_EQ(watched.status, absl::OkStatus());
  EXPECT_EQ(watched.events.front(), v1::EVENT_KIND_RUN_SUBMITTED);
  EXPECT_EQ(watched.events.back(), v1::EVENT_KIND_RUN_STATE_CHANGED);
  EXPECT_EQ(watched.snapshots.back().summary().state(), v1::RUN_STATE_SUCCEEDED);
  EXPECT_EQ(WatchAll(*user_, run_id).events, watched.events) << "once more from the store";

  v1::DownloadRequest request;
  request.mutable_run()->set_id(run_id);
  grpc::ClientContext context;
  const auto reader = user_->Download(&context, request);
  Tensors files;
  v1::DownloadReply reply;
  while (reader->Read(&reply)) {
    for (const v1::FileInfo& file : reply.files().files()) files.push_back({file.path(), ""});
    if (reply.has_chunk()) files[reply.chunk().index()].bytes += reply.chunk().data();
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_THAT(files, ElementsAre(FakeWorker::Files()[0], FakeWorker::Files()[2], FakeWorker::Files()[1]));
}

TEST_F(ServiceTest, ACheckpointComesBackAfterARestart) {
  v1::Slice slice;
  {
    FakeWorker worker(server_->address(), "w1");
    slice = TakeFirstSlice(worker);
    ASSERT_EQ(worker.Publish(slice, 10, {{"a", Noise(3 * kChunkBytes, 1)}, {"b", ""}}), absl::OkStatus());
  }
  Restart();
  FakeWorker worker(server_->address(), "w1");
  ASSERT_EQ(worker.Register(), absl::OkStatus());
  EXPECT_EQ(worker.Heartbeat(slice)->verdict().action(), v1::LEASE_ACTION_CONTINUE);
  const v1::Slice again = worker.Lease().value();
  EXPECT_EQ(again.token(), slice.token());
  const auto tensors = worker.Fetch(again.run_id(), again.layers(0).checkpoint());
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_THAT(*tensors, ElementsAre(NamedBytes{"a", Noise(3 * kChunkBytes, 1)}, NamedBytes{"b", ""}));
}

TEST_F(ServiceTest, ABrokenUploadDropsThePublish) {
  FakeWorker worker(server_->address(), "w1");
  const v1::Slice slice = TakeFirstSlice(worker);
  const Tensors tensors = {{"a", Noise(3 * kChunkBytes, 1)}};
  const auto begun = worker.Begin(slice, 10, tensors);
  ASSERT_TRUE(begun.ok()) << begun.status();
  {
    grpc::ClientContext context;
    v1::UploadChunksReply reply;
    const auto writer = worker.stub->UploadChunks(&context, &reply);
    v1::UploadChunksRequest message;
    *message.mutable_header() = worker.From<v1::UploadHeader>();
    message.mutable_header()->set_publish(begun->publish());
    writer->Write(message);
    writer->WritesDone();
    EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::FAILED_PRECONDITION) << "it ended too soon";
  }
  EXPECT_EQ(worker.Upload(*begun, tensors).code(), StatusCode::kNotFound);
  EXPECT_EQ(worker.Publish(slice, 10, tensors), absl::OkStatus());
}

TEST_F(ServiceTest, LogsComeBackFilteredAndFollowARunToItsEnd) {
  FakeWorker worker(server_->address(), "w1");
  const v1::Slice slice = TakeFirstSlice(worker);
  auto ship = worker.From<v1::ShipLogsRequest>();
  v1::LogLine& line = *ship.add_lines();
  line.set_level(v1::LOG_LEVEL_INFO);
  line.set_text("step 10");
  line.set_run_id(slice.run_id());
  ASSERT_TRUE(Call(*worker.stub, &WorkerStub::ShipLogs, ship, kCallDeadline).ok());

  v1::LogsRequest request;
  request.mutable_run()->set_id(slice.run_id());
  request.set_worker_name("w1");
  request.set_follow(true);
  grpc::ClientContext context;
  const auto reader = user_->Logs(&context, request);
  v1::LogsReply reply;
  ASSERT_TRUE(reader->Read(&reply));
  ASSERT_THAT(reply.lines(), SizeIs(1));
  EXPECT_EQ(reply.lines(0).text(), "step 10");
  EXPECT_EQ(reply.lines(0).worker_name(), "w1");
  ship.set_first_line(1);
  ship.mutable_lines(0)->set_text("step 11");
  ASSERT_TRUE(Call(*worker.stub, &WorkerStub::ShipLogs, ship, kCallDeadline).ok());
  ASSERT_TRUE(reader->Read(&reply));
  EXPECT_EQ(reply.lines(0).text(), "step 11");
  v1::CancelRequest cancel;
  cancel.set_request_id("cancel");
  cancel.mutable_run()->set_id(slice.run_id());
  ASSERT_TRUE(Call(*user_, &UserStub::Cancel, cancel, kCallDeadline).ok());
  ASSERT_TRUE(Call(*worker.stub, &WorkerStub::Leave, worker.From<v1::LeaveRequest>(), kCallDeadline).ok());
  EXPECT_FALSE(reader->Read(&reply));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(ServiceTest, ADeletedRunTakesItsLogLinesAlong) {
  FakeWorker worker(server_->address(), "w1");
  const v1::Slice slice = TakeFirstSlice(worker);
  auto ship = worker.From<v1::ShipLogsRequest>();
  v1::LogLine& line = *ship.add_lines();
  line.set_level(v1::LOG_LEVEL_INFO);
  line.set_text("step 10");
  line.set_run_id(slice.run_id());
  ASSERT_TRUE(Call(*worker.stub, &WorkerStub::ShipLogs, ship, kCallDeadline).ok());
  v1::CancelRequest cancel;
  cancel.set_request_id("cancel");
  cancel.mutable_run()->set_id(slice.run_id());
  ASSERT_TRUE(Call(*user_, &UserStub::Cancel, cancel, kCallDeadline).ok());
  ASSERT_TRUE(Call(*worker.stub, &WorkerStub::Leave, worker.From<v1::LeaveRequest>(), kCallDeadline).ok());
  v1::DeleteRequest request;
  request.set_request_id("delete");
  request.mutable_run()->set_id(slice.run_id());
  EXPECT_EQ(Call(*user_, &UserStub::Delete, request, kCallDeadline)->run_id(), slice.run_id());
  request.set_request_id("delete again");
  EXPECT_EQ(Call(*user_, &UserStub::Delete, request, kCallDeadline).status().code(), StatusCode::kNotFound);

  grpc::ClientContext context;
  const auto reader = user_->Logs(&context, v1::LogsRequest());
  v1::LogsReply reply;
  while (reader->Read(&reply)) {
    for (const v1::LogLine& kept : reply.lines()) EXPECT_EQ(kept.run_id(), 0u) << kept.text();
  }
  EXPECT_TRUE(reader->Finish().ok());
}

// As a kill between a Delete's commit and the end of the run's lines leaves it.
TEST_F(ServiceTest, AStartForgetsTheLinesOfRunsThatAreGone) {
  const uint64_t run_id = SubmitSix(*user_).value();
  server_.reset();
  {
    const auto logs = LogStore::Open(directory_.path() / "logs");
    ASSERT_TRUE(logs.ok()) << logs.status();
    v1::ShipLogsRequest lines;
    lines.set_worker_id(1);
    for (const uint64_t id : {run_id, run_id + 1}) {
      v1::LogLine& line = *lines.add_lines();
      line.set_level(v1::LOG_LEVEL_INFO);
      line.set_run_id(id);
      line.set_text(absl::StrCat("of run ", id));
    }
    ASSERT_EQ((*logs)->Append("w1", lines), absl::OkStatus());
  }
  Restart();
  v1::LogsRequest request;
  request.set_worker_name("w1");
  grpc::ClientContext context;
  const auto reader = user_->Logs(&context, request);
  std::vector<std::string> kept;
  v1::LogsReply reply;
  while (reader->Read(&reply)) {
    for (const v1::LogLine& line : reply.lines()) kept.push_back(line.text());
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_THAT(kept, ElementsAre(absl::StrCat("of run ", run_id)));
}

// A stream that takes nothing while it is shut, as stderr does while nobody reads its pipe.
class Gate : public std::stringbuf {
 public:
  void Open() { open_.count_down(); }

 private:
  std::streamsize xsputn(const char* text, std::streamsize size) override {
    open_.wait();
    return std::stringbuf::xsputn(text, size);
  }

  std::latch open_{1};
};

TEST_F(ServiceTest, WorksOnWhileNobodyReadsItsLog) {
  Gate gate;
  std::ostream log(&gate);
  options_.log = &log;
  Restart();
  FakeWorker worker(server_->address(), "w1");
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(SubmitSix(*user_, absl::StrCat("run-", i)).status(), absl::OkStatus());
  }
  EXPECT_EQ(worker.Register(), absl::OkStatus());
  gate.Open();
  server_.reset();
  options_.log = nullptr;
  EXPECT_THAT(gate.str(), HasSubstr("serves on 127.0.0.1:"));
}

TEST_F(ServiceTest, AnswersWhatWaitsWhenItStops) {
  FakeWorker worker(server_->address(), "w1");
  ASSERT_EQ(worker.Register(), absl::OkStatus());
  const uint64_t run_id = SubmitSix(*user_).value();
  ASSERT_TRUE(worker.Lease().ok());
  FakeWorker idle(server_->address(), "w2");
  ASSERT_EQ(idle.Register(), absl::OkStatus());
  grpc::ClientContext watch_context, lease_context;
  v1::WatchRequest watch_request;
  watch_request.mutable_run()->set_id(run_id);
  const auto reader = user_->Watch(&watch_context, watch_request);
  v1::WatchReply watch_reply;
  ASSERT_TRUE(reader->Read(&watch_reply));
  const auto lease_request = idle.From<v1::LeaseRequest>();
  v1::LeaseReply lease_reply;
  std::promise<grpc::Status> ended;
  idle.stub->async()->Lease(&lease_context, &lease_request, &lease_reply,
                            [&ended](const grpc::Status& status) { ended.set_value(status); });
  ASSERT_EQ(idle.Register(), absl::OkStatus()) << "on the same connection: the call before has arrived";
  server_.reset();
  while (reader->Read(&watch_reply)) continue;
  const absl::Status watch = FromGrpc(reader->Finish());
  const absl::Status lease = FromGrpc(ended.get_future().get());
  EXPECT_EQ(lease.code(), StatusCode::kUnavailable) << lease;
  EXPECT_EQ(watch.code(), StatusCode::kUnavailable) << watch;
}

TEST_F(ServiceTest, ALeaseWithoutWorkIsAnsweredAtTheLimit) {
  options_.limits.lease_wait = std::chrono::milliseconds(300);
  Restart();
  FakeWorker worker(server_->address(), "w1");
  ASSERT_EQ(worker.Register(), absl::OkStatus());
  const auto start = std::chrono::steady_clock::now();
  const auto reply = Call(*worker.stub, &WorkerStub::Lease, worker.From<v1::LeaseRequest>(), kLeaseDeadline);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_FALSE(reply->has_slice());
  EXPECT_NE(reply->reason(), "");
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(300));
}

TEST_F(ServiceTest, ALeaseIsAnsweredWhenWorkComesAndNotAtTheLimit) {
  options_.limits.lease_wait = std::chrono::hours(1);
  Restart();
  FakeWorker worker(server_->address(), "w1");
  ASSERT_EQ(worker.Register(), absl::OkStatus());
  absl::StatusOr<v1::LeaseReply> reply;
  std::thread leasing([&] {
    reply = Call(*worker.stub, &WorkerStub::Lease, worker.From<v1::LeaseRequest>(), kLeaseDeadline);
  });
  EXPECT_EQ(SubmitSix(*user_).status(), absl::OkStatus());
  leasing.join();
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->slice().stage(), v1::STAGE_PREPARE);
}

// The bytes of one file, larger than what gRPC buffers for a stream that nobody reads.
constexpr size_t kFileBytes = 3 * kChunkBytes;

TEST_F(ServiceTest, AnUploadWaitsForItsTurn) {
  options_.limits.uploads = 1;
  Restart();
  FakeWorker first(server_->address(), "w1"), second(server_->address(), "w2");
  const v1::Slice slice = TakeFirstSlice(first);
  ASSERT_EQ(SubmitSix(*user_, "other").status(), absl::OkStatus());
  ASSERT_EQ(second.Register(), absl::OkStatus());
  ASSERT_EQ(second.DoSlice(second.Lease().value()), absl::OkStatus());
  const v1::Slice other = second.Lease().value();
  const Tensors tensors = {{"a", Noise(kFileBytes, 1)}};
  const auto begun = first.Begin(slice, 10, tensors);
  ASSERT_TRUE(begun.ok()) << begun.status();
  {
    grpc::ClientContext context;
    v1::UploadChunksReply reply;
    const auto writer = first.stub->UploadChunks(&context, &reply);
    v1::UploadChunksRequest message;
    *message.mutable_header() = first.From<v1::UploadHeader>();
    message.mutable_header()->set_publish(begun->publish());
    writer->Write(message);
    v1::TensorChunk& chunk = *message.mutable_chunk();
    chunk.set_data(tensors[0].bytes.substr(0, kChunkBytes));
    chunk.set_crc32c(Crc32c(chunk.data()));
    ASSERT_TRUE(writer->Write(message));
    chunk.set_offset_bytes(kChunkBytes);
    ASSERT_TRUE(writer->Write(message)) << "written once the first one is read: the slot is taken";
    EXPECT_EQ(second.Upload(second.Begin(other, 10, tensors).value(), tensors, std::chrono::milliseconds(500))
                  .code(),
              StatusCode::kDeadlineExceeded);
    context.TryCancel();
    writer->Finish();
  }
  EXPECT_EQ(second.Publish(other, 10, tensors), absl::OkStatus());
}

TEST_F(ServiceTest, WorkersDoNotWaitForUsersWhoReadSlowly) {
  options_.limits.fetches = 1;
  options_.limits.downloads = 1;
  Restart();
  FakeWorker worker(server_->address(), "w1");
  ASSERT_EQ(worker.Register(), absl::OkStatus());
  const uint64_t run_id = SubmitSix(*user_, "small").value();
  v1::Slice slice;
  do {
    slice = worker.Lease().value();
    ASSERT_EQ(worker.DoSlice(slice), absl::OkStatus());
  } while (slice.stage() != v1::STAGE_END_TO_END);
  // A window of 64 KiB that does not grow: the rest of the file waits in the server.
  grpc::ChannelArguments small_window;
  small_window.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  small_window.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1 << 16);
  const auto user = v1::RunService::NewStub(
      grpc::CreateCustomChannel(server_->address(), grpc::InsecureChannelCredentials(), small_window));
  const auto download = [&](grpc::ClientContext& context) {
    v1::DownloadRequest request;
    request.mutable_run()->set_id(run_id);
    return user->Download(&context, request);
  };
  v1::DownloadReply reply;
  grpc::ClientContext slow;
  const auto reads_no_more = download(slow);
  ASSERT_TRUE(reads_no_more->Read(&reply)) << "it has the slot";
  grpc::ClientContext waiting;
  waiting.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(500));
  const auto waits = download(waiting);
  EXPECT_FALSE(waits->Read(&reply));
  EXPECT_EQ(waits->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);

  ASSERT_EQ(SubmitSix(*user_, "next").status(), absl::OkStatus());
  ASSERT_EQ(worker.DoSlice(worker.Lease().value()), absl::OkStatus());
  const v1::Slice trains = worker.Lease().value();
  ASSERT_EQ(worker.Publish(trains, 10, {{"a", Noise(kFileBytes, 1)}}), absl::OkStatus());
  const v1::Slice again = worker.Lease().value();
  EXPECT_THAT(*worker.Fetch(again.run_id(), again.layers(0).checkpoint()), SizeIs(1));
  slow.TryCancel();
  reads_no_more->Finish();
}

TEST_F(ServiceTest, ASecondServerIsRefusedTheDirectoryAndThePort) {
  const auto same_directory = Server::Start(options_);
  EXPECT_EQ(same_directory.status().code(), StatusCode::kFailedPrecondition);
  const TemporaryDirectory other;
  const auto same_port = Server::Start({.state_directory = other.path(), .listen = server_->address()});
  EXPECT_EQ(same_port.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(same_port.status().ToString(), HasSubstr("another program has the port"));
}

// A unary call of a service whose messages are not ours; the reply's bytes.
absl::StatusOr<std::string> CallRaw(const std::string& address, const std::string& method) {
  grpc::GenericStub stub(MakeChannel(address));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kCallDeadline);
  grpc::CompletionQueue queue;
  const grpc::ByteBuffer request(nullptr, 0);
  const auto call = stub.PrepareUnaryCall(&context, method, request, &queue);
  call->StartCall();
  grpc::ByteBuffer reply;
  grpc::Status status;
  call->Finish(&reply, &status, &queue);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  if (!status.ok()) return FromGrpc(status);
  grpc::Slice bytes;
  reply.DumpToSingleSlice(&bytes).ok();
  return std::string(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
}

TEST_F(ServiceTest, IsHealthy) {
  EXPECT_EQ(CallRaw(server_->address(), "/grpc.health.v1.Health/Check").value(), "\x08\x01") << "SERVING";
}

TEST_F(ServiceTest, TellsItsServicesOnlyWhenAsked) {
  const std::string method = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
  EXPECT_EQ(CallRaw(server_->address(), method).status().code(), StatusCode::kUnimplemented);
  options_.reflection = true;
  Restart();
  // The method streams, so this call of it fails; but it is there.
  EXPECT_NE(CallRaw(server_->address(), method).status().code(), StatusCode::kUnimplemented);
  options_.reflection = false;
  Restart();
  EXPECT_EQ(CallRaw(server_->address(), method).status().code(), StatusCode::kUnimplemented);
}

TEST_F(ServiceTest, RefusesWhatBreaksALimit) {
  FakeWorker worker(server_->address(), "w1");
  const v1::Slice slice = TakeFirstSlice(worker);
  EXPECT_EQ(worker.Publish(slice, 10, {{"b", "1"}, {"a", "2"}}).message(),
            "BeginPublish: layer 0 lists a after b; names are unique and ascend");
  auto ship = worker.From<v1::ShipLogsRequest>();
  for (int i = 0; i < 1001; ++i) ship.add_lines()->set_text("x");
  EXPECT_EQ(Call(*worker.stub, &WorkerStub::ShipLogs, ship, kCallDeadline).status().message(),
            "ShipLogs: 1001 lines of 3003 bytes; at most 1000 and 1048576");
  v1::ListRequest list;
  list.set_page_size(1001);
  EXPECT_EQ(Call(*user_, &UserStub::List, list, kCallDeadline).status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace retort::orchestrator
