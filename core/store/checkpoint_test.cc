// CheckpointWriter, CheckpointReader and the keep rules together.
#include "core/store/store_fixture.h"

namespace retort {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::IsEmpty;

class CheckpointTest : public testing::Test {
 protected:
  void Reopen() {
    store_.reset();
    store_ = Store::Open(kMemoryPath, disk_.get()).value();
  }
  uint64_t MustPublish(uint32_t layer, uint64_t step, double loss, const std::vector<NamedBytes>& tensors) {
    const auto publish = Publish(*store_, layer, /*token=*/1, step, loss, tensors);
    EXPECT_TRUE(publish.ok()) << publish.status();
    return publish.value_or(0);
  }
  std::unique_ptr<CheckpointWriter> Begin(const std::vector<NamedBytes>& tensors, uint32_t layer = 0) {
    return BeginPublish(*store_, {Declare(1, layer, 1, tensors)}).value();
  }
  std::vector<std::string> Incoming() const {
    std::vector<std::string> names;
    EXPECT_TRUE(disk_->GetChildren(absl::StrCat(kMemoryPath, "/incoming"), &names).ok());
    return names;
  }

  std::unique_ptr<rocksdb::Env> disk_ = MemoryDisk();
  std::unique_ptr<Store> store_ = OpenWithTasks(kMemoryPath, 2, disk_.get());
};

TEST_F(CheckpointTest, ComesBackByteForByteAlsoAfterAReopen) {
  const std::vector<NamedBytes> tensors = {{"a", ""},
                                           {"b", "x"},
                                           {"c", Noise(kChunkBytes, 1)},
                                           {"d", Noise(kChunkBytes + 1, 2)},
                                           {"e", Noise(3 * kChunkBytes, 3)}};
  const uint64_t publish = MustPublish(0, 5, 0.5, tensors);
  const ManifestKey key = {1, kStage, 0, publish};
  EXPECT_THAT(ReadCheckpoint(*store_, key).value(), ElementsAreArray(tensors));
  Reopen();
  EXPECT_THAT(ReadCheckpoint(*store_, key).value(), ElementsAreArray(tensors));
  EXPECT_EQ(store_->Get(TaskKey{1, kStage, 0})->step(), 5u);
}

TEST_F(CheckpointTest, IsReadByPrefixOfTheNames) {
  const uint64_t publish = MustPublish(0, 1, 1, {{"adam/x", "1"}, {"student/x", "22"}, {"student/y", "333"}});
  EXPECT_THAT(ReadCheckpoint(*store_, {1, kStage, 0, publish}, "student/").value(),
              ElementsAre(NamedBytes{"student/x", "22"}, NamedBytes{"student/y", "333"}));
}

TEST_F(CheckpointTest, IsReadFromAMultipleOfTheChunkOn) {
  const std::string bytes = Noise(2 * kChunkBytes + 7, 1);
  const uint64_t publish = MustPublish(0, 1, 1, {{"a", bytes}, {"b", ""}});
  const auto reader = CheckpointReader::Open(*store_, {1, kStage, 0, publish}).value();
  ASSERT_TRUE(reader->SeekTo(0, 2 * kChunkBytes).ok());
  const auto piece = reader->Next().value();
  ASSERT_TRUE(piece.has_value());
  EXPECT_EQ(piece->offset_bytes, 2 * kChunkBytes);
  EXPECT_EQ(piece->data, bytes.substr(2 * kChunkBytes));
  EXPECT_FALSE(reader->Next()->has_value());
  EXPECT_TRUE(reader->SeekTo(1, 0).ok());
  EXPECT_EQ(reader->SeekTo(0, 1).code(), StatusCode::kOutOfRange);
  EXPECT_EQ(reader->SeekTo(0, 3 * kChunkBytes).code(), StatusCode::kOutOfRange);
}

TEST_F(CheckpointTest, ThatIsNotThereIsNotFound) {
  EXPECT_EQ(CheckpointReader::Open(*store_, {1, kStage, 0, 9}).status().code(), StatusCode::kNotFound);
}

TEST_F(CheckpointTest, DoesNotCountBeforeTheCommit) {
  const std::vector<NamedBytes> tensors = {{"a", "bytes"}};
  const auto writer = Begin(tensors);
  ASSERT_TRUE(Send(*writer, {tensors}).ok());
  ASSERT_TRUE(writer->Finish().ok());
  EXPECT_THAT(store_->List(AllOf<ManifestKey>()).value(), IsEmpty());
  EXPECT_EQ(store_->Get(TaskKey{1, kStage, 0})->last_publish(), 0u);
}

TEST_F(CheckpointTest, SendsOnceWhatAKeptOneOfTheRunHas) {
  const NamedBytes large = {"frozen", Noise(kChunkBytes + 5, 1)};
  const uint64_t first = MustPublish(0, 1, 1, {large, {"moving", "1"}});
  const auto writer = Begin({{"moving", "2"}, {"renamed", large.bytes}}, /*layer=*/1);
  ASSERT_EQ(writer->missing().size(), 1u);
  EXPECT_EQ(writer->missing()[0].tensor, 0u);
  ASSERT_TRUE(Send(*writer, {{{"moving", "2"}, {"renamed", large.bytes}}}).ok());
  ASSERT_TRUE(CommitPublish(*store_, *writer, 1, 1).ok());
  EXPECT_THAT(PublishesOf(writer->manifests()[0]), ElementsAre(first, writer->publish()));
  EXPECT_THAT(ReadCheckpoint(*store_, {1, kStage, 1, writer->publish()}).value(),
              ElementsAre(NamedBytes{"moving", "2"}, NamedBytes{"renamed", large.bytes}));
}

TEST_F(CheckpointTest, SendsAgainWhatOnlyAnotherRunHas) {
  MustPublish(0, 1, 1, {{"a", "same"}});
  v1::ManifestRecord of_other_run = Declare(2, 0, 1, {{"a", "same"}});
  EXPECT_EQ(BeginPublish(*store_, {of_other_run}).value()->missing().size(), 1u);
}

TEST_F(CheckpointTest, SendsEqualTensorsOfOnePublishOnce) {
  const std::vector<NamedBytes> tensors = {{"m", "zeros"}, {"v", "zeros"}};
  const auto writer = Begin(tensors);
  EXPECT_EQ(writer->missing().size(), 1u);
  ASSERT_TRUE(Send(*writer, {tensors}).ok());
  ASSERT_TRUE(CommitPublish(*store_, *writer, 1, 1).ok());
  EXPECT_THAT(ReadCheckpoint(*store_, {1, kStage, 0, writer->publish()}).value(), ElementsAreArray(tensors));
}

TEST_F(CheckpointTest, OfManyLayersCommitsAllOrNothing) {
  const std::vector<NamedBytes> low = {{"a", "low"}}, high = {{"a", "high"}};
  ASSERT_TRUE(store_
                  ->Transact([](Transaction& transaction) {
                    transaction.Put(
                        LeasedTask(1, 1, transaction.TakeToken()));  // layer 1 is another worker's by now
                    return absl::OkStatus();
                  })
                  .ok());
  auto writer = BeginPublish(*store_, {Declare(1, 0, 7, low), Declare(1, 1, 7, high)}).value();
  ASSERT_TRUE(Send(*writer, {low, high}).ok());
  EXPECT_EQ(CommitPublish(*store_, *writer, /*token=*/1, 1).code(), StatusCode::kAborted);
  EXPECT_EQ(store_->Get(TaskKey{1, kStage, 0})->step(), 0u);
  EXPECT_THAT(store_->List(AllOf<ManifestKey>()).value(), IsEmpty());
  EXPECT_THAT(Ranges(*store_), ElementsAre(1));
  writer.reset();
  EXPECT_THAT(Ranges(*store_), IsEmpty());
}

TEST_F(CheckpointTest, RefusesAChunkOutOfOrder) {
  const std::string bytes = Noise(kChunkBytes + 1, 1), rest = bytes.substr(kChunkBytes);
  const std::string_view whole = std::string_view(bytes).substr(0, kChunkBytes);
  const auto refusal = [&](uint32_t index, uint64_t offset, std::string_view data) {
    const auto writer = Begin({{"a", bytes}});
    return writer->Append(index, offset, Crc32c(data), data).code();
  };
  EXPECT_EQ(refusal(1, 0, whole), StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal(0, kChunkBytes, rest), StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal(0, 0, whole.substr(1)), StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal(0, 0, bytes), StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal(0, 0, whole), StatusCode::kOk);
}

TEST_F(CheckpointTest, RefusesDamagedBytesAndStaysRefused) {
  const auto writer = Begin({{"a", "right"}});
  const absl::Status status = writer->Append(0, 0, Crc32c("right"), "wrong");
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tensor a of manifests/1/2/0/1"));
  EXPECT_EQ(writer->Append(0, 0, Crc32c("right"), "right"), status);
  EXPECT_EQ(writer->Finish(), status);
}

TEST_F(CheckpointTest, RefusesATensorOfAnotherDigest) {
  const auto writer = Begin({{"a", "right"}});
  const absl::Status status = writer->Append(0, 0, Crc32c("wrong"), "wrong");
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("has SHA-256"));
}

TEST_F(CheckpointTest, IsNotFinishedBeforeItsLastByte) {
  const auto writer = Begin({{"a", "there"}, {"b", "not there"}});
  ASSERT_TRUE(writer->Append(0, 0, Crc32c("there"), "there").ok());
  const absl::Status status = writer->Finish();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tensor b of"));
  ASSERT_TRUE(writer->Append(1, 0, Crc32c("not there"), "not there").ok());
  EXPECT_TRUE(writer->Finish().ok());
  EXPECT_TRUE(writer->Finish().ok());
  EXPECT_EQ(writer->Append(2, 0, 0, "").code(), StatusCode::kInvalidArgument);
}

TEST_F(CheckpointTest, RefusesADeclarationThatCannotBe) {
  const auto refusal = [this](void (*spoil)(v1::TensorInfo&)) {
    v1::ManifestRecord manifest = Declare(1, 0, 1, {{"a", "1"}});
    spoil(*manifest.mutable_tensors(0)->mutable_info());
    return BeginPublish(*store_, {manifest}).status().code();
  };
  EXPECT_EQ(refusal([](v1::TensorInfo& info) { info.set_dtype(v1::DATA_TYPE_UNSPECIFIED); }),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal([](v1::TensorInfo& info) { info.set_sha256("short"); }), StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal([](v1::TensorInfo& info) { info.add_shape(0); }), StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal([](v1::TensorInfo& info) {
              info.add_shape(uint64_t{1} << 40);
              info.add_shape(uint64_t{1} << 40);
            }),
            StatusCode::kInvalidArgument);
}

TEST(CheckpointOnDiskTest, IsRefusedWhenTheDiskHasNoRoom) {
  const TemporaryDirectory directory;
  const auto store = OpenWithTasks(directory.path());
  v1::ManifestRecord manifest = Declare(1, 0, 1, {{"a", "1"}});
  manifest.mutable_tensors(0)->mutable_info()->set_shape(0, uint64_t{1} << 51);
  const absl::Status status = BeginPublish(*store, {manifest}).status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("2251799813685248 bytes"));
}

TEST_F(CheckpointTest, ThatIsGivenUpLeavesNothing) {
  {
    const auto writer = Begin({{"a", "1"}, {"b", "2"}});
    ASSERT_TRUE(writer->Append(0, 0, Crc32c("1"), "1").ok());
    EXPECT_THAT(Incoming(), ElementsAre("1.sst"));
  }
  EXPECT_THAT(Incoming(), IsEmpty());
  EXPECT_THAT(Ranges(*store_), IsEmpty());
}

TEST_F(CheckpointTest, LeavesOfATaskItsLastAndItsBest) {
  const auto kept = [this] {
    std::vector<uint64_t> publishes;
    const auto manifests = store_->List(ManifestsOf(TaskKey{1, kStage, 0})).value();
    for (const v1::ManifestRecord& manifest : manifests) publishes.push_back(manifest.publish());
    return publishes;
  };
  MustPublish(0, 1, 3.0, {{"a", "1"}});
  MustPublish(0, 2, 1.0, {{"a", "2"}});
  EXPECT_THAT(kept(), ElementsAre(2));
  MustPublish(0, 3, 2.0, {{"a", "3"}});
  MustPublish(0, 4, 2.0, {{"a", "4"}});
  EXPECT_THAT(kept(), ElementsAre(2, 4));
  EXPECT_THAT(Ranges(*store_), ElementsAre(2, 4));
}

TEST_F(CheckpointTest, OfAnEndedRunLeavesTheResultOrNothing) {
  MustPublish(0, 1, 2.0, {{"a", "1"}});
  MustPublish(0, 2, 3.0, {{"a", "2"}});
  const auto end_run = [this](v1::RunState state) {
    return store_->Transact([state](Transaction& transaction) {
      v1::RunRecord run;
      run.set_run_id(1);
      run.set_state(state);
      run.set_result_publish(2);
      transaction.Put(run);
      return DeleteManifestsOfEndedRun(transaction, run);
    });
  };
  ASSERT_TRUE(end_run(v1::RUN_STATE_FAILED).ok());
  EXPECT_THAT(Ranges(*store_), ElementsAre(1, 2));
  ASSERT_TRUE(end_run(v1::RUN_STATE_SUCCEEDED).ok());
  EXPECT_THAT(Ranges(*store_), ElementsAre(2));
  ASSERT_TRUE(end_run(v1::RUN_STATE_CANCELLED).ok());
  EXPECT_THAT(Ranges(*store_), IsEmpty());
}

TEST_F(CheckpointTest, KeepsARangeAsLongAsAKeptManifestRefersToIt) {
  const std::vector<NamedBytes> frozen = {{"frozen", Noise(100, 1)}};
  for (uint64_t step = 1; step <= 3; ++step) {
    MustPublish(0, step, 1.0 / static_cast<double>(step), {frozen[0], {"moving", absl::StrCat(step)}});
  }
  EXPECT_THAT(Ranges(*store_), ElementsAre(1, 3));
  Reopen();
  EXPECT_THAT(Ranges(*store_), ElementsAre(1, 3));
  MustPublish(0, 4, 0.1, {{"moving", "4"}});
  EXPECT_THAT(Ranges(*store_), ElementsAre(4));
}

TEST_F(CheckpointTest, UnderWayKeepsTheRangesItWillReferTo) {
  const NamedBytes frozen = {"frozen", Noise(100, 1)};
  MustPublish(0, 1, 1.0, {frozen});
  auto writer = Begin({frozen}, /*layer=*/1);
  EXPECT_THAT(writer->missing(), IsEmpty());
  MustPublish(0, 2, 0.5, {{"frozen", "no more"}});
  EXPECT_THAT(Ranges(*store_), ElementsAre(1, 3));
  ASSERT_TRUE(CommitPublish(*store_, *writer, 1, 1.0).ok());
  const ManifestKey key = {1, kStage, 1, writer->publish()};
  writer.reset();
  EXPECT_THAT(ReadCheckpoint(*store_, key).value(), ElementsAre(frozen));
}

TEST_F(CheckpointTest, OpenForReadingStaysReadable) {
  const std::vector<NamedBytes> tensors = {{"a", Noise(2 * kChunkBytes, 1)}};
  const uint64_t publish = MustPublish(0, 1, 1.0, tensors);
  const auto reader = CheckpointReader::Open(*store_, {1, kStage, 0, publish}).value();
  ASSERT_TRUE(reader->Next()->has_value());
  MustPublish(0, 2, 0.5, {{"a", "2"}});
  EXPECT_THAT(Ranges(*store_), ElementsAre(2));
  const auto second = reader->Next();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ((*second)->data, tensors[0].bytes.substr(kChunkBytes));
}

TEST_F(CheckpointTest, TwoUnderWayDoNotDisturbEachOther) {
  const std::vector<NamedBytes> low = {{"a", "low"}}, high = {{"a", "high"}};
  const auto first = Begin(low, 0), second = Begin(high, 1);
  ASSERT_TRUE(Send(*second, {high}).ok());
  ASSERT_TRUE(Send(*first, {low}).ok());
  ASSERT_TRUE(CommitPublish(*store_, *second, 1, 1).ok());
  ASSERT_TRUE(CommitPublish(*store_, *first, 1, 1).ok());
  EXPECT_THAT(ReadCheckpoint(*store_, {1, kStage, 0, 1}).value(), ElementsAreArray(low));
  EXPECT_THAT(ReadCheckpoint(*store_, {1, kStage, 1, 2}).value(), ElementsAreArray(high));
}

}  // namespace
}  // namespace retort
