#include "core/store/verify.h"

#include "core/store/store_fixture.h"
#include "rocksdb/write_batch.h"

namespace retort {
namespace {

namespace fs = std::filesystem;
using absl::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> Messages(const VerifyReport& report) {
  std::vector<std::string> messages;
  for (const Damage& damage : report.damages) messages.push_back(damage.message);
  return messages;
}

class VerifyTest : public testing::Test {
 protected:
  VerifyTest() {
    Publish(*store_, 0, 1, 1, 0.5, {{"small", "1"}, {"large", Noise(2 * kChunkBytes + 9, 1)}}).value();
    Publish(*store_, 1, 1, 1, 0.5, {{"other", "22"}}).value();
  }

  VerifyReport Verify() {
    store_.reset();
    return VerifyStore(kMemoryPath, disk_.get()).value();
  }

  // Behind the store's back.
  template <class Key>
  void PutRaw(const Key& key, const std::string& value) {
    rocksdb::WriteBatch batch;
    ASSERT_TRUE(batch.Put(store_->database().family(Key::kFamily), WriteKey(key), value).ok());
    ASSERT_TRUE(store_->database().WriteSynced(batch).ok());
  }
  template <class Key>
  void DeleteRaw(const Key& key) {
    rocksdb::WriteBatch batch;
    ASSERT_TRUE(batch.Delete(store_->database().family(Key::kFamily), WriteKey(key)).ok());
    ASSERT_TRUE(store_->database().WriteSynced(batch).ok());
  }

  std::unique_ptr<rocksdb::Env> disk_ = MemoryDisk();
  std::unique_ptr<Store> store_ = OpenWithTasks(kMemoryPath, 2, disk_.get());
};

TEST_F(VerifyTest, CountsWhatIsThereAndChangesNothing) {
  const VerifyReport report = Verify();
  EXPECT_THAT(Messages(report), IsEmpty());
  EXPECT_TRUE(report.status().ok());
  EXPECT_EQ(report.epoch, 1u);
  EXPECT_EQ(report.chunk_bytes, 2 * kChunkBytes + 12);
  EXPECT_EQ(report.records.at(Family::kTasks), 2u);
  EXPECT_EQ(report.records.at(Family::kManifests), 2u);
  EXPECT_EQ(report.records.at(Family::kChunks), 5u);
  EXPECT_EQ(report.leftover_ranges, 0u);
  EXPECT_EQ(Store::Open(kMemoryPath, disk_.get()).value()->epoch(), 2u);
}

TEST_F(VerifyTest, FindsRecordsThatAreNone) {
  PutRaw(RunKey{5}, "\xff");
  v1::TaskRecord task = LeasedTask(1, 3, 1);
  task.set_version(1);
  PutRaw(TaskKey{1, kStage, 9}, task.SerializeAsString());
  const VerifyReport report = Verify();
  EXPECT_EQ(report.status().code(), StatusCode::kDataLoss);
  EXPECT_THAT(Messages(report), ElementsAre(HasSubstr("record runs/5 is damaged"),
                                            HasSubstr("record tasks/1/2/9 is damaged: it says that it is")));
}

TEST_F(VerifyTest, FindsPointersToNothing) {
  DeleteRaw(ManifestKey{1, kStage, 0, 1});
  const VerifyReport report = Verify();
  EXPECT_THAT(Messages(report), ElementsAre("record tasks/1/2/0 refers to manifests/1/2/0/1: it is missing"));
  EXPECT_EQ(report.leftover_ranges, 1u);
}

TEST_F(VerifyTest, FindsNumbersThatWouldBeGivenOutAgain) {
  v1::MetaRecord meta = *store_->Get(MetaKey{});
  meta.set_next_token(1);
  meta.set_next_publish(2);
  PutRaw(MetaKey{}, meta.SerializeAsString());
  EXPECT_THAT(Messages(Verify()), ElementsAre(HasSubstr("record tasks/1/2/0 has token 1"),
                                              HasSubstr("record tasks/1/2/1 has token 1"),
                                              HasSubstr("record manifests/1/2/1/2 has publish 2")));
}

TEST_F(VerifyTest, FindsChunksThatAreMissingOrWrong) {
  v1::ChunkRecord chunk = *store_->Get(ChunkKey{1, 2});
  (*chunk.mutable_data())[77] ^= 1;
  PutRaw(ChunkKey{1, 2}, chunk.SerializeAsString());
  DeleteRaw(ChunkKey{2, 0});
  EXPECT_THAT(Messages(Verify()),
              ElementsAre("record chunks/1/2 is damaged: its data does not have its checksum",
                          HasSubstr("there is no record chunks/2/0")));
}

TEST_F(VerifyTest, FindsATensorOfWholeChunksThatIsNotTheOneDeclared) {
  v1::ChunkRecord chunk = *store_->Get(ChunkKey{1, 2});
  (*chunk.mutable_data())[77] ^= 1;
  chunk.set_crc32c(Crc32c(chunk.data()));
  PutRaw(ChunkKey{1, 2}, chunk.SerializeAsString());
  EXPECT_THAT(Messages(Verify()), ElementsAre(HasSubstr("tensor large of manifests/1/2/0/1 has SHA-256")));
}

TEST_F(VerifyTest, IsReportedForPeople) {
  DeleteRaw(ChunkKey{2, 0});
  const std::string text = RenderVerify(Verify());
  EXPECT_THAT(text, HasSubstr("runs: 1 records\ntasks: 2 records\n"));
  EXPECT_THAT(text, HasSubstr("\ndamage in chunks: there is no record chunks/2/0"));
}

TEST(VerifyOnDisk, FindsAFlippedBitAndNamesTheChunk) {
  const TemporaryDirectory directory;
  {
    const auto store = OpenWithTasks(directory.path());
    Publish(*store, 0, 1, 1, 0.5, {{"a", Noise(3 * kChunkBytes, 1)}}).value();
  }
  ASSERT_TRUE(VerifyStore(directory.path())->status().ok());
  fs::path largest;
  for (const auto& entry : fs::directory_iterator(directory.path() / "db")) {
    if (largest.empty() || entry.file_size() > fs::file_size(largest)) largest = entry.path();
  }
  std::fstream file(largest, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(kChunkBytes + kChunkBytes / 2);
  const char flipped = static_cast<char>(file.get() ^ 4);
  file.seekp(kChunkBytes + kChunkBytes / 2).put(flipped);
  file.close();
  const auto report = VerifyStore(directory.path());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->status().code(), StatusCode::kDataLoss);
  EXPECT_THAT(Messages(*report), testing::Contains(HasSubstr("chunks/1/1")));
  const auto store = Store::Open(directory.path()).value();
  const absl::Status read = ReadCheckpoint(*store, {1, kStage, 0, 1}).status();
  EXPECT_EQ(read.code(), StatusCode::kDataLoss);
  EXPECT_THAT(std::string(read.message()), HasSubstr("chunks/1/1"));
}

TEST(VerifyOnDisk, OfNoStoreIsNotFound) {
  const TemporaryDirectory directory;
  EXPECT_EQ(VerifyStore(directory.path()).status().code(), StatusCode::kNotFound);
  EXPECT_FALSE(fs::exists(directory.path()));
}

}  // namespace
}  // namespace retort
