// The verbs on a store, as a user sees them: output, messages, exit codes.
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/store/store.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/write_batch.h"
#include "tests/support/child_process.h"

namespace retort {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class StoreVerbsTest : public testing::Test {
 protected:
  StoreVerbsTest() {
    fs::remove_all(directory_);
    fs::create_directories(directory_);
  }
  ~StoreVerbsTest() override { fs::remove_all(directory_); }

  std::string state() const { return directory_ / "state"; }
  std::string backup() const { return directory_ / "backup"; }

  // A store with one run, or with one that is damaged.
  void MakeStore(bool damaged = false) {
    const auto store = Store::Open(state()).value();
    rocksdb::WriteBatch batch;
    v1::RunRecord run;
    run.set_version(1);
    run.set_run_id(damaged ? 2 : 1);
    ASSERT_TRUE(
        batch.Put(store->database().family(Family::kRuns), WriteKey(RunKey{1}), run.SerializeAsString())
            .ok());
    v1::MetaRecord meta = *store->Get(MetaKey{});
    meta.set_next_run_id(2);
    ASSERT_TRUE(
        batch.Put(store->database().family(Family::kMeta), WriteKey(MetaKey{}), meta.SerializeAsString())
            .ok());
    ASSERT_TRUE(store->database().WriteSynced(batch).ok());
  }

  static ProgramEnd Run(std::vector<std::string> args) {
    args.insert(args.begin(), RETORT_BIN_DIR "/retort-orchestrator");
    return RunProgram(args, 60);
  }

  const fs::path directory_ = fs::temp_directory_path() / absl::StrCat("retort_verbs_", getpid());
};

TEST_F(StoreVerbsTest, VerifySaysWhatIsThere) {
  MakeStore();
  const ProgramEnd end = Run({"verify", "--state", state()});
  EXPECT_EQ(end.exit_code, 0) << end.err;
  EXPECT_THAT(end.out, HasSubstr("runs: 1 records\n"));
  EXPECT_THAT(end.out, HasSubstr("\nno damage\n"));
}

TEST_F(StoreVerbsTest, VerifyOfDamageIsTen) {
  MakeStore(/*damaged=*/true);
  const ProgramEnd end = Run({"verify", "--state", state()});
  EXPECT_EQ(end.exit_code, 10);
  EXPECT_THAT(end.out, HasSubstr("damage in runs: record runs/1 is damaged: it says that it is runs/2"));
  EXPECT_THAT(end.err, HasSubstr("retort-orchestrator verify: error: 1 damages, first: record runs/1"));
}

TEST_F(StoreVerbsTest, VerifyOfAStoreInUseIsFive) {
  const auto store = Store::Open(state()).value();
  const ProgramEnd end = Run({"verify", "--state", state()});
  EXPECT_EQ(end.exit_code, 5);
  EXPECT_THAT(end.err, HasSubstr(absl::StrCat("in use by process ", getpid())));
}

TEST_F(StoreVerbsTest, ARestoredBackupIsTheStore) {
  MakeStore();
  EXPECT_EQ(Run({"backup", "--state", state(), "--to", backup()}).exit_code, 0);
  EXPECT_EQ(Run({"backup", "--state", state(), "--to", backup()}).exit_code, 5);
  fs::remove_all(state());
  const ProgramEnd end = Run({"restore", "--state", state(), "--from", backup()});
  EXPECT_EQ(end.exit_code, 0) << end.err;
  EXPECT_EQ(end.out, absl::StrCat("restored to ", state(), "\n"));
  EXPECT_TRUE(Store::Open(state()).value()->Get(RunKey{1}).ok());
}

TEST_F(StoreVerbsTest, OfNoStoreAreFour) {
  EXPECT_EQ(Run({"verify", "--state", state()}).exit_code, 4);
  EXPECT_EQ(Run({"backup", "--state", state(), "--to", backup()}).exit_code, 4);
  EXPECT_EQ(Run({"restore", "--state", state(), "--from", backup()}).exit_code, 4);
  EXPECT_FALSE(fs::exists(state()));
}

TEST_F(StoreVerbsTest, WithoutAStateAreTwo) {
  const ProgramEnd end = Run({"verify"});
  EXPECT_EQ(end.exit_code, 2);
  EXPECT_THAT(end.err, HasSubstr("--state"));
}

}  // namespace
}  // namespace retort
