#include "core/store/store.h"

#include <thread>

#include "core/store/store_fixture.h"
#include "rocksdb/db.h"
#include "rocksdb/write_batch.h"

namespace retort {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;

class StoreTest : public testing::Test {
 protected:
  explicit StoreTest(std::unique_ptr<rocksdb::Env> disk = MemoryDisk()) : disk_(std::move(disk)) { Reopen(); }

  void Reopen() {
    store_.reset();
    auto opened = Open();
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
  }

  absl::StatusOr<std::unique_ptr<Store>> Open() {
    return disk_ == nullptr ? Store::Open(directory_.path()) : Store::Open(kMemoryPath, disk_.get());
  }

  template <class Record>
  absl::Status Put(const Record& record) {
    return store_->Transact([&record](Transaction& transaction) {
      transaction.Put(record);
      return absl::OkStatus();
    });
  }

  // Around the typed interface, as damage or another program would.
  void PutRaw(Family family, const std::string& key, const std::string& value) {
    rocksdb::WriteBatch batch;
    ASSERT_TRUE(batch.Put(store_->database().family(family), key, value).ok());
    ASSERT_TRUE(store_->database().WriteSynced(batch).ok());
  }

  TemporaryDirectory directory_;
  std::unique_ptr<rocksdb::Env> disk_;  // nullptr: the real one
  std::unique_ptr<Store> store_;
};

class StoreOnDiskTest : public StoreTest {
 protected:
  StoreOnDiskTest() : StoreTest(/*disk=*/nullptr) {}
};

v1::RunRecord RunWith(uint64_t run_id, const std::string& reason) {
  v1::RunRecord run;
  run.set_run_id(run_id);
  run.set_reason(reason);
  return run;
}

TEST_F(StoreOnDiskTest, KeepsWhatWasCommittedAcrossOpens) {
  ASSERT_TRUE(Put(RunWith(3, "new")).ok());
  Reopen();
  const auto run = store_->Get(RunKey{3});
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->reason(), "new");
  EXPECT_EQ(run->version(), 1u);
}

TEST_F(StoreTest, NamesTheRecordThatIsNotThere) {
  const absl::Status status = store_->Get(TaskKey{3, kStage, 4}).status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tasks/3/2/4"));
}

TEST_F(StoreTest, ListsARangeInOrderAndNothingElse) {
  for (const uint64_t run_id : {1, 2, 3}) {
    for (const uint32_t layer : {300, 2}) ASSERT_TRUE(Put(LeasedTask(run_id, layer, run_id)).ok());
  }
  const auto tasks = store_->List(TasksOf(2));
  ASSERT_TRUE(tasks.ok());
  ASSERT_EQ(tasks->size(), 2u);
  EXPECT_EQ((*tasks)[0].layer(), 2u);
  EXPECT_EQ((*tasks)[1].layer(), 300u);
  EXPECT_EQ((*tasks)[1].token(), 2u);
}

TEST_F(StoreTest, CountsItsOpens) {
  EXPECT_EQ(store_->epoch(), 1u);
  Reopen();
  EXPECT_EQ(store_->epoch(), 2u);
  EXPECT_EQ(store_->Get(MetaKey{})->epoch(), 2u);
}

TEST_F(StoreTest, GivesEachNumberOnce) {
  std::vector<uint64_t> taken;
  const auto take = [&taken](Transaction& transaction) {
    taken = {transaction.TakeRunId(), transaction.TakeToken(), transaction.TakeToken(),
             transaction.TakePublish(), transaction.AddEvent(v1::EventRecord())};
    return absl::OkStatus();
  };
  ASSERT_TRUE(store_->Transact(take).ok());
  EXPECT_THAT(taken, ElementsAre(1, 1, 2, 1, 1));
  Reopen();
  ASSERT_TRUE(store_->Transact(take).ok());
  EXPECT_THAT(taken, ElementsAre(2, 3, 4, 2, 2));
}

TEST_F(StoreTest, ATransactionThatFailsWritesNothingAndTakesNoNumber) {
  const absl::Status refused = store_->Transact([](Transaction& transaction) {
    transaction.Put(RunWith(transaction.TakeRunId(), "half"));
    return absl::AbortedError("changed my mind");
  });
  EXPECT_EQ(refused, absl::AbortedError("changed my mind"));
  EXPECT_EQ(store_->Get(RunKey{1}).status().code(), StatusCode::kNotFound);
  uint64_t run_id = 0;
  ASSERT_TRUE(store_
                  ->Transact([&run_id](Transaction& transaction) {
                    run_id = transaction.TakeRunId();
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_EQ(run_id, 1u);
}

TEST_F(StoreTest, ATransactionReadsWhatItWrote) {
  ASSERT_TRUE(Put(LeasedTask(1, 5, 1)).ok());
  std::vector<uint32_t> seen;
  ASSERT_TRUE(store_
                  ->Transact([&seen](Transaction& transaction) -> absl::Status {
                    transaction.Put(LeasedTask(1, 4, 1));
                    transaction.Delete(TaskKey{1, kStage, 5});
                    transaction.Put(LeasedTask(1, 6, 1));
                    ASSIGN_OR_RETURN(const auto tasks, transaction.List(TasksOf(1)));
                    for (const v1::TaskRecord& task : tasks) seen.push_back(task.layer());
                    return transaction.Get(TaskKey{1, kStage, 4}).status();
                  })
                  .ok());
  EXPECT_THAT(seen, ElementsAre(4, 6));
}

TEST_F(StoreTest, ARecordThatCouldNotBeReadBackIsNotWritten) {
  EXPECT_EQ(Put(RunWith(1, "caf\xc3")).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->Get(RunKey{1}).status().code(), StatusCode::kNotFound);
  EXPECT_TRUE(Put(RunWith(1, "caf\xc3\xa9")).ok());
  EXPECT_EQ(store_->Get(RunKey{1})->reason(), "caf\xc3\xa9");
}

TEST_F(StoreTest, TheFenceLetsOnlyTheTokenOfALeasedRowThrough) {
  ASSERT_TRUE(Put(LeasedTask(1, 4, 41)).ok());
  const auto held = [this](uint64_t token) {
    return store_->Transact([token](Transaction& transaction) {
      return transaction.GetHeldTask({1, kStage, 4}, token).status();
    });
  };
  EXPECT_TRUE(held(41).ok());
  EXPECT_EQ(held(40).code(), StatusCode::kAborted);
  EXPECT_THAT(std::string(held(40).message()), HasSubstr("token 40 does not hold tasks/1/2/4"));
  ASSERT_TRUE(
      store_
          ->Transact([](Transaction& transaction) {
            EXPECT_EQ(transaction.GetHeldTask({1, kStage, 5}, 41).status().code(), StatusCode::kAborted);
            return absl::OkStatus();
          })
          .ok());
  v1::TaskRecord pending = LeasedTask(1, 4, 41);
  pending.set_state(v1::TASK_STATE_PENDING);
  ASSERT_TRUE(Put(pending).ok());
  EXPECT_EQ(held(41).code(), StatusCode::kAborted);
}

// Each thread grants the row to itself if it is free: with a check outside of the commit two would succeed.
TEST_F(StoreTest, OfManyGrantsOfOneRowOneSucceeds) {
  v1::TaskRecord row = LeasedTask(1, 0, 0);
  row.set_state(v1::TASK_STATE_PENDING);
  ASSERT_TRUE(Put(row).ok());
  std::atomic<int> granted{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, &granted] {
      const absl::Status status = store_->Transact([](Transaction& transaction) -> absl::Status {
        ASSIGN_OR_RETURN(v1::TaskRecord task, transaction.Get(TaskKey{1, kStage, 0}));
        std::this_thread::yield();
        if (task.state() != v1::TASK_STATE_PENDING) return absl::AbortedError("taken");
        task.set_state(v1::TASK_STATE_LEASED);
        task.set_token(transaction.TakeToken());
        transaction.Put(task);
        return absl::OkStatus();
      });
      granted += status.ok() ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(granted, 1);
  EXPECT_EQ(store_->Get(TaskKey{1, kStage, 0})->token(), 1u);
}

TEST_F(StoreOnDiskTest, ASecondOpenOfTheDirectoryIsRefused) {
  const absl::Status status = Open().status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat(directory_.path().string(), " is in use by process ", getpid())));
}

TEST_F(StoreTest, ARecordOfANewerProgramIsRefused) {
  v1::RunRecord run = RunWith(1, "");
  run.set_version(2);
  PutRaw(Family::kRuns, WriteKey(RunKey{1}), run.SerializeAsString());
  const absl::Status status = store_->Get(RunKey{1}).status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("record runs/1 has version 2"));
}

TEST_F(StoreTest, AStoreOfANewerFormatIsRefused) {
  v1::MetaRecord meta = *store_->Get(MetaKey{});
  meta.set_format_version(2);
  PutRaw(Family::kMeta, WriteKey(MetaKey{}), meta.SerializeAsString());
  store_.reset();
  const absl::Status status = Open().status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("has format 2; this program knows up to 1"));
}

TEST_F(StoreTest, AStoreWithAFamilyOfANewerProgramIsRefused) {
  rocksdb::ColumnFamilyHandle* handle = nullptr;
  ASSERT_TRUE(store_->database().rocksdb().CreateColumnFamily({}, "gangs", &handle).ok());
  ASSERT_TRUE(store_->database().rocksdb().DestroyColumnFamilyHandle(handle).ok());
  store_.reset();
  const absl::Status status = Open().status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("family gangs"));
}

TEST_F(StoreTest, BytesThatAreNoRecordAreDamageOfThatKey) {
  PutRaw(Family::kTasks, WriteKey(TaskKey{1, kStage, 4}), "\xff\xff");
  PutRaw(Family::kRuns, WriteKey(RunKey{9}), RunWith(8, "").SerializeAsString());
  PutRaw(Family::kLeases, "short", "");
  const absl::Status unparsed = store_->Get(TaskKey{1, kStage, 4}).status();
  EXPECT_EQ(unparsed.code(), StatusCode::kDataLoss);
  EXPECT_THAT(std::string(unparsed.message()), HasSubstr("record tasks/1/2/4 is damaged"));
  const absl::Status unversioned = store_->Get(RunKey{9}).status();
  EXPECT_EQ(unversioned.code(), StatusCode::kDataLoss);
  v1::RunRecord other = RunWith(8, "");
  other.set_version(1);
  PutRaw(Family::kRuns, WriteKey(RunKey{9}), other.SerializeAsString());
  EXPECT_THAT(std::string(store_->Get(RunKey{9}).status().message()),
              HasSubstr("record runs/9 is damaged: it says that it is runs/8"));
  EXPECT_THAT(std::string(store_->List(AllOf<LeaseKey>()).status().message()),
              HasSubstr("family leases is damaged: it has a key 0x73686f7274"));
}

// RocksDB's default would open without the records from the damage on, tokens in the hands of workers among
// them.
TEST_F(StoreOnDiskTest, ADamagedRecordOfTheLogRefusesTheStore) {
  for (uint64_t run_id = 1; run_id <= 3; ++run_id)
    ASSERT_TRUE(Put(RunWith(run_id, std::string(100, 'r'))).ok());
  store_.reset();
  std::filesystem::path log;
  for (const auto& entry : std::filesystem::directory_iterator(directory_.path() / "db")) {
    if (entry.path().extension() == ".log" && entry.file_size() > 300) log = entry.path();
  }
  ASSERT_FALSE(log.empty());
  std::fstream(log, std::ios::in | std::ios::out | std::ios::binary).seekp(200).put('!');
  const absl::Status status = Open().status();
  EXPECT_EQ(status.code(), StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(directory_.path().string()));
}

TEST_F(StoreTest, TouchesNothingButTheInjectedFileSystem) {
  ASSERT_TRUE(Put(RunWith(1, "")).ok());
  EXPECT_TRUE(disk_->FileExists(absl::StrCat(kMemoryPath, "/db/CURRENT")).ok());
  EXPECT_FALSE(std::filesystem::exists(kMemoryPath));
}

}  // namespace
}  // namespace retort
