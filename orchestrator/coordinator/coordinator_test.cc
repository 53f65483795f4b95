#include "orchestrator/coordinator/coordinator.h"

#include "gmock/gmock.h"
#include "orchestrator/coordinator/coordinator_fixture.h"
#include "orchestrator/coordinator/stored_state.h"

namespace retort::orchestrator {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class CoordinatorTest : public testing::Test, protected CoordinatorOnDisk {
 protected:
  CoordinatorTest() : CoordinatorOnDisk(nullptr), disk_(MemoryDisk()) {
    env = disk_.get();
    EXPECT_EQ(Start(), absl::OkStatus());
  }

  ~CoordinatorTest() override {
    coordinator.reset();
    store.reset();
  }

  // A prepared run whose slice of stage 1 `worker` holds.
  v1::Slice TakeFirstSlice(const std::string& worker) {
    EXPECT_EQ(Register(worker), absl::OkStatus());
    EXPECT_EQ(Submit().status(), absl::OkStatus());
    const v1::Slice prepare = TakeSlice(worker).value();
    EXPECT_EQ(Complete(worker, prepare), absl::OkStatus());
    return TakeSlice(worker).value();
  }

  v1::TaskRecord StoredTask(v1::Stage stage, uint32_t layer) const {
    return store->Get(TaskKey{1, stage, layer}).value();
  }
  v1::UploadHeader HeaderOf(const std::string& worker, uint64_t publish) const {
    auto header = From<v1::UploadHeader>(worker);
    header.set_publish(publish);
    return header;
  }

  std::unique_ptr<rocksdb::Env> disk_;
};

TEST_F(CoordinatorTest, TakesARunFromSubmitToItsFiles) {
  ASSERT_EQ(Register("w1"), absl::OkStatus());
  const uint64_t run_id = Submit().value();
  ASSERT_EQ(Work("w1", run_id), absl::OkStatus());
  EXPECT_EQ(coordinator->StatusOfRun(run_id)->summary().state(), v1::RUN_STATE_SUCCEEDED);

  v1::DownloadRequest request;
  request.mutable_run()->set_name("six");
  const auto reader = coordinator->Download(request);
  ASSERT_TRUE(reader.ok()) << reader.status();
  Tensors files;
  for (const v1::FileInfo& file : (*reader)->files().files()) files.push_back({file.path(), ""});
  while (const auto chunk = (*reader)->Next().value()) files[chunk->index()].bytes += chunk->data();
  EXPECT_THAT(files, ElementsAre(Files()[0], Files()[2], Files()[1])) << "result.json is the last";
  EXPECT_THAT(store->List(ManifestsOf(run_id)).value(), SizeIs(1)) << "the result's alone";
}

TEST_F(CoordinatorTest, ARestartKeepsRunsLeasesRequestsAndNumbers) {
  const v1::Slice slice = TakeFirstSlice("w1");
  const uint64_t old_epoch = store->epoch();
  ASSERT_EQ(Start(), absl::OkStatus());
  EXPECT_EQ(store->epoch(), old_epoch + 1);
  EXPECT_EQ(Heartbeat("w1", slice.token()).status().code(), StatusCode::kAborted) << "not registered yet";
  ASSERT_EQ(Register("w1"), absl::OkStatus());
  EXPECT_EQ(Heartbeat("w1", slice.token())->verdict().action(), v1::LEASE_ACTION_CONTINUE);
  EXPECT_EQ(TakeSlice("w1")->token(), slice.token());
  EXPECT_EQ(Submit().value(), 1u) << "the same request";
  EXPECT_EQ(DoSlice("w1", slice), absl::OkStatus());
  EXPECT_GT(TakeSlice("w1")->token(), slice.token());
}

TEST_F(CoordinatorTest, AStaleTokenWritesNothing) {
  const v1::Slice slice = TakeFirstSlice("w1");
  const Tensors tensors = {{"student/w", Noise(100, 1)}};
  const auto begun = coordinator->BeginPublish(Describe("w1", slice, 10, tensors));
  ASSERT_EQ(Upload("w1", *begun, tensors), absl::OkStatus());
  ASSERT_EQ(Register("w2"), absl::OkStatus());
  Advance(options.lease_ttl_ms - 1'000);
  EXPECT_EQ(Heartbeat("w2").status(), absl::OkStatus());
  Advance(1'000);
  EXPECT_EQ(TakeSlice("w2")->token(), slice.token() + 1) << "w1's expired";
  ASSERT_EQ(Register("w1"), absl::OkStatus()) << "it was lost";
  const v1::TaskRecord before = StoredTask(v1::STAGE_MATRIX_ORIENTATION, 0);

  EXPECT_EQ(Commit("w1", slice.token(), begun->publish()).code(), StatusCode::kNotFound)
      << "the publish ended with the lease";
  EXPECT_EQ(Publish("w1", slice, 10, tensors).code(), StatusCode::kAborted);
  EXPECT_EQ(Complete("w1", slice).code(), StatusCode::kAborted);
  EXPECT_EQ(StoredTask(v1::STAGE_MATRIX_ORIENTATION, 0).SerializeAsString(), before.SerializeAsString());
  EXPECT_THAT(Ranges(*store), IsEmpty());
  EXPECT_THAT(EventsOf(1, v1::EVENT_KIND_STALE_WRITE_REFUSED), SizeIs(3));
}

TEST_F(CoordinatorTest, ACommitWhoseLeaseEndedDuringTheUploadIsRefused) {
  const v1::Slice slice = TakeFirstSlice("w1");
  const Tensors tensors = {{"student/w", Noise(100, 1)}};
  const auto begun = coordinator->BeginPublish(Describe("w1", slice, 10, tensors));
  const v1::UploadHeader header = HeaderOf("w1", begun->publish());
  ASSERT_EQ(coordinator->OpenUpload(header), absl::OkStatus());
  auto release = From<v1::ReleaseLeaseRequest>("w1", slice.token());
  for (const v1::SliceLayer& layer : slice.layers()) release.add_layers(layer.layer());
  release.set_cause(v1::END_CAUSE_PREEMPTION);
  ASSERT_EQ(coordinator->ReleaseLease(release).status(), absl::OkStatus());
  EXPECT_EQ(Upload("w1", *begun, tensors).code(), StatusCode::kNotFound);
  EXPECT_EQ(Commit("w1", slice.token(), begun->publish()).code(), StatusCode::kNotFound);
}

TEST_F(CoordinatorTest, ACommitIsIdempotentAndWaitsForAllTensors) {
  const v1::Slice slice = TakeFirstSlice("w1");
  const Tensors tensors = {{"a", Noise(100, 1)}, {"b", Noise(100, 2)}};
  auto begun = coordinator->BeginPublish(Describe("w1", slice, 10, tensors));
  EXPECT_THAT(begun->missing(), SizeIs(2)) << "the second layer has the same bytes";
  EXPECT_EQ(Commit("w1", slice.token(), begun->publish()).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(Commit("w1", slice.token(), begun->publish()).code(), StatusCode::kNotFound);

  begun = coordinator->BeginPublish(Describe("w1", slice, 10, tensors));
  ASSERT_EQ(Upload("w1", *begun, tensors), absl::OkStatus());
  EXPECT_EQ(Commit("w1", slice.token(), begun->publish()), absl::OkStatus());
  EXPECT_EQ(Commit("w1", slice.token(), begun->publish()), absl::OkStatus());
  EXPECT_THAT(EventsOf(1, v1::EVENT_KIND_CHECKPOINT_PUBLISHED), SizeIs(1));
  EXPECT_EQ(StoredTask(v1::STAGE_MATRIX_ORIENTATION, 1).last_publish(), begun->publish());

  auto fetch = From<v1::FetchCheckpointRequest>("w1");
  fetch.set_run_id(1);
  fetch.mutable_checkpoint()->set_stage(v1::STAGE_MATRIX_ORIENTATION);
  fetch.mutable_checkpoint()->set_layer(1);
  fetch.mutable_checkpoint()->set_publish(begun->publish());
  fetch.set_name_prefix("b");
  const auto reader = coordinator->FetchCheckpoint(fetch);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ((*reader)->manifest().step(), 10u);
  EXPECT_EQ((*reader)->Next().value()->data, tensors[1].bytes);
}

TEST_F(CoordinatorTest, ADamagedChunkEndsThePublish) {
  const v1::Slice slice = TakeFirstSlice("w1");
  const Tensors tensors = {{"a", Noise(100, 1)}};
  const auto begun = coordinator->BeginPublish(Describe("w1", slice, 10, tensors));
  v1::TensorChunk chunk;
  chunk.set_data(tensors[0].bytes);
  chunk.set_crc32c(1);
  const v1::UploadHeader header = HeaderOf("w1", begun->publish());
  EXPECT_EQ(coordinator->AppendChunk(header, chunk).code(), StatusCode::kDataLoss);
  EXPECT_EQ(coordinator->AppendChunk(header, chunk).code(), StatusCode::kNotFound);
}

TEST_F(CoordinatorTest, AWorkerHasOnePublishAndLosesItAfterAMinuteOfSilence) {
  const v1::Slice slice = TakeFirstSlice("w1");
  const Tensors tensors = {{"a", Noise(100, 1)}};
  const auto first = coordinator->BeginPublish(Describe("w1", slice, 10, tensors));
  const auto second = coordinator->BeginPublish(Describe("w1", slice, 10, tensors));
  EXPECT_EQ(coordinator->OpenUpload(HeaderOf("w1", first->publish())).code(), StatusCode::kNotFound);
  for (int i = 0; i < 6; ++i) {
    ASSERT_EQ(Heartbeat("w1", slice.token())->verdict().action(), v1::LEASE_ACTION_CONTINUE);
    Advance(10'000);
    coordinator->Tick();
  }
  Advance(1);
  coordinator->Tick();
  EXPECT_EQ(coordinator->OpenUpload(HeaderOf("w1", second->publish())).code(), StatusCode::kNotFound);
}

TEST_F(CoordinatorTest, AnUploadMayWaitForItsTurnForLongerThanItMayBeSilent) {
  options.lease_ttl_ms = 600'000;
  ASSERT_EQ(Start(), absl::OkStatus());
  const v1::Slice slice = TakeFirstSlice("w1");
  const Tensors tensors = {{"a", "1"}};
  const v1::BeginPublishReply begun = coordinator->BeginPublish(Describe("w1", slice, 10, tensors)).value();
  const v1::UploadHeader header = HeaderOf("w1", begun.publish());
  Advance(59'000);
  ASSERT_EQ(coordinator->OpenUpload(header), absl::OkStatus());
  Advance(200'000);
  coordinator->Tick();
  EXPECT_EQ(coordinator->StartUpload(header), absl::OkStatus());
  Advance(60'001);
  coordinator->Tick();
  EXPECT_EQ(coordinator->FinishUpload(header).code(), StatusCode::kNotFound) << "silent since its turn";
}

TEST_F(CoordinatorTest, WatchTellsEachEventOnceAndSaysWhenItIsTheLast) {
  ASSERT_EQ(Register("w1"), absl::OkStatus());
  const uint64_t run_id = Submit().value();
  uint64_t seen = 0;
  std::vector<v1::EventKind> kinds;
  const auto watch = [&] {
    while (true) {
      const WatchStep step = coordinator->Watch(run_id, seen, 2).value();
      for (const v1::Event& event : step.events) {
        EXPECT_GT(event.sequence(), seen);
        seen = event.sequence();
        kinds.push_back(event.kind());
      }
      if (step.is_last || step.events.empty()) return step.is_last;
    }
  };
  EXPECT_FALSE(watch());
  EXPECT_THAT(kinds, ElementsAre(v1::EVENT_KIND_RUN_SUBMITTED));
  ASSERT_EQ(Work("w1", run_id), absl::OkStatus());
  EXPECT_TRUE(watch());
  const std::vector<v1::EventKind> in_one_life = kinds;
  EXPECT_EQ(in_one_life.back(), v1::EVENT_KIND_RUN_STATE_CHANGED);

  ASSERT_EQ(Start(), absl::OkStatus());
  seen = 0;
  kinds.clear();
  EXPECT_TRUE(watch());
  EXPECT_EQ(kinds, in_one_life);
  EXPECT_EQ(coordinator->Watch(run_id, seen + 100, 2).status().code(), StatusCode::kOutOfRange);
}

TEST_F(CoordinatorTest, AnOrchestratorThatWasSupersededEnds) {
  ASSERT_EQ(Register("w1"), absl::OkStatus());
  auto request = From<v1::HeartbeatRequest>("w1");
  request.set_epoch(store->epoch() + 1);
  EXPECT_EQ(coordinator->Heartbeat(request).status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(coordinator->failure().ToString(), HasSubstr("a later one has taken the store"));
  EXPECT_EQ(Submit().status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(coordinator->ListWorkers().status().code(), StatusCode::kUnavailable);
}

TEST_F(CoordinatorTest, RefusesAStoreWhoseRecordsDoNotFitTogether) {
  ASSERT_EQ(store->Transact([](Transaction& transaction) {
    transaction.Put(LeasedTask(1, 0, 7));
    return absl::OkStatus();
  }),
            absl::OkStatus());
  const absl::Status status = Start();
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_THAT(status.ToString(), HasSubstr("tasks/1/2/0, but no run 1"));
}

TEST_F(CoordinatorTest, AnEarlierCheckpointGoesWithTheCommitOfABetterOne) {
  const v1::Slice slice = TakeFirstSlice("w1");
  ASSERT_EQ(Publish("w1", slice, 10, {{"a", Noise(100, 1)}}), absl::OkStatus());
  const std::vector<uint64_t> first = Ranges(*store);
  ASSERT_EQ(Publish("w1", slice, 20, {{"a", Noise(100, 2)}}), absl::OkStatus());
  EXPECT_THAT(Ranges(*store), ElementsAre(first.at(0) + 1));
  EXPECT_EQ(StoredTask(v1::STAGE_MATRIX_ORIENTATION, 0).step(), 20u);
}

TEST_F(CoordinatorTest, ACancelledRunKeepsNoCheckpoints) {
  const v1::Slice slice = TakeFirstSlice("w1");
  ASSERT_EQ(Publish("w1", slice, 10, {{"a", Noise(100, 1)}}), absl::OkStatus());
  EXPECT_THAT(Ranges(*store), SizeIs(1));
  v1::CancelRequest cancel;
  cancel.set_request_id("cancel");
  cancel.mutable_run()->set_id(1);
  ASSERT_EQ(coordinator->Cancel(cancel)->state(), v1::RUN_STATE_CANCELLING);
  EXPECT_EQ(Heartbeat("w1", slice.token())->verdict().action(), v1::LEASE_ACTION_STOP);
  ASSERT_EQ(coordinator->Leave(From<v1::LeaveRequest>("w1")).status(), absl::OkStatus());
  EXPECT_EQ(coordinator->StatusOfRun(1)->summary().state(), v1::RUN_STATE_CANCELLED);
  EXPECT_THAT(Ranges(*store), IsEmpty());
}

}  // namespace
}  // namespace retort::orchestrator
