#include "core/store/backup.h"

#include "core/store/store_fixture.h"
#include "core/store/verify.h"

namespace retort {
namespace {

namespace fs = std::filesystem;
using absl::StatusCode;
using testing::ElementsAreArray;
using testing::HasSubstr;

class BackupTest : public testing::Test {
 protected:
  BackupTest() { fs::create_directories(directory_.path()); }

  fs::path state() const { return directory_.path() / "state"; }
  fs::path backup() const { return directory_.path() / "backup"; }
  fs::path restored() const { return directory_.path() / "restored"; }

  TemporaryDirectory directory_;
  const std::vector<NamedBytes> tensors_ = {{"a", Noise(kChunkBytes + 3, 1)}};
};

TEST_F(BackupTest, RestoresWhatWasThereThen) {
  {
    const auto store = OpenWithTasks(state());
    Publish(*store, 0, 1, 1, 0.5, tensors_).value();
    ASSERT_TRUE(BackUpStore(*store, backup()).ok());
    // The store goes on, also by dropping what the backup still has.
    Publish(*store, 0, 1, 2, 0.4, {{"a", "later"}}).value();
  }
  ASSERT_TRUE(VerifyStore(backup())->status().ok());
  const absl::Status status = RestoreStore(backup(), restored());
  ASSERT_TRUE(status.ok()) << status;
  const auto store = Store::Open(restored()).value();
  EXPECT_EQ(store->Get(TaskKey{1, kStage, 0})->step(), 1u);
  EXPECT_THAT(ReadCheckpoint(*store, {1, kStage, 0, 1}).value(), ElementsAreArray(tensors_));
  EXPECT_TRUE(VerifyStore(backup())->status().ok());
}

// A worker of the lost store may hold token 2, which the backup knows nothing of.
TEST_F(BackupTest, ARestoredStoreGivesNoNumberOutAgain) {
  ASSERT_TRUE(BackUpStore(*OpenWithTasks(state()), backup()).ok());
  ASSERT_TRUE(RestoreStore(backup(), restored()).ok());
  const auto store = Store::Open(restored()).value();
  EXPECT_EQ(store->epoch(), 1'000'002u);
  ASSERT_TRUE(store
                  ->Transact([](Transaction& transaction) {
                    EXPECT_EQ(transaction.TakeToken(), 1'000'002u);
                    EXPECT_EQ(transaction.TakePublish(), 1'000'001u);
                    EXPECT_EQ(transaction.TakeRunId(), 1'002u);
                    EXPECT_EQ(transaction.AddEvent(v1::EventRecord()), 1u);
                    return absl::OkStatus();
                  })
                  .ok());
}

TEST_F(BackupTest, LinksLargeFilesOnOneFileSystemAndARestoreCopiesThem) {
  {
    const auto store = OpenWithTasks(state());
    Publish(*store, 0, 1, 1, 0.5, tensors_).value();
    ASSERT_TRUE(BackUpStore(*store, backup()).ok());
  }
  ASSERT_TRUE(RestoreStore(backup(), restored()).ok());
  const auto links_of_largest = [](const fs::path& directory) {
    fs::path largest;
    for (const auto& entry : fs::directory_iterator(directory / "db")) {
      if (largest.empty() || entry.file_size() > fs::file_size(largest)) largest = entry.path();
    }
    EXPECT_GT(fs::file_size(largest), kChunkBytes);
    return fs::hard_link_count(largest);
  };
  EXPECT_EQ(links_of_largest(backup()), 2u);
  EXPECT_EQ(links_of_largest(restored()), 1u);
}

TEST_F(BackupTest, NeitherOverwritesAnything) {
  fs::create_directories(directory_.path() / "full" / "of things");
  const auto store = OpenWithTasks(state());
  const absl::Status backed_up = BackUpStore(*store, directory_.path() / "full");
  EXPECT_EQ(backed_up.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(backed_up.message()), HasSubstr("full is not empty"));
  ASSERT_TRUE(BackUpStore(*store, backup()).ok());
  EXPECT_EQ(RestoreStore(backup(), state()).code(), StatusCode::kFailedPrecondition);
}

TEST_F(BackupTest, ARestoreOfNothingIsNotFound) {
  EXPECT_EQ(RestoreStore(backup(), restored()).code(), StatusCode::kNotFound);
  EXPECT_FALSE(fs::exists(restored()));
}

TEST_F(BackupTest, ARestoreThatWasCutOffIsNoStore) {
  fs::create_directories(restored() / "restoring" / "db");
  const absl::Status status = Store::Open(restored()).status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("did not come to its end"));
}

}  // namespace
}  // namespace retort
