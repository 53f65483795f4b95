// Stores in processes of their own: what a killed one leaves behind, and what a large checkpoint costs. This
// program is also the child: see main.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>

#include "absl/strings/numbers.h"
#include "core/store/store_workload.h"
#include "core/store/verify.h"
#include "tests/support/child_process.h"

namespace retort {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::string ThisProgram() { return fs::read_symlink("/proc/self/exe"); }

// The number after `name` in a file of lines "name number".
uint64_t NumberIn(const char* file, const std::string& name) {
  std::ifstream lines(file);
  std::string word;
  uint64_t number = 0;
  while (lines >> word) {
    if (word == name && lines >> number) return number;
  }
  return 0;
}

// ---- children
// ----------------------------------------------------------------------------------------------

// child work DIR STEPS: a fresh store; appends each acknowledged step to DIR/acknowledged.
int WorkAsChild(const fs::path& directory, uint64_t steps) {
  const std::unique_ptr<Store> store = OpenWithTasks(directory / "state", 1);
  std::ofstream acknowledged(directory / "acknowledged");
  Work(*store, 0, steps, [&acknowledged](uint64_t step) { acknowledged << step << std::endl; });
  return 0;
}

// Publishes `mebibytes` as tensors of 16 MiB; a chunk is made when it is needed.
absl::Status PublishLarge(Store& store, uint64_t step, uint64_t mebibytes) {
  constexpr uint64_t kTensorChunks = 16;
  std::string chunk = Noise(kChunkBytes, step);
  const auto fill = [&chunk](uint64_t number) {
    chunk.replace(0, 11, absl::StrCat(10'000'000'000 + number));
  };
  v1::ManifestRecord manifest = Declare(1, 0, step, {});
  for (uint64_t first = 0; first < mebibytes; first += kTensorChunks) {
    Sha256 sha256;
    for (uint64_t i = 0; i < kTensorChunks; ++i) {
      fill(first + i);
      sha256.Add(chunk);
    }
    v1::TensorInfo& info = *manifest.add_tensors()->mutable_info();
    info.set_name(absl::StrCat("t", first));
    info.set_dtype(v1::DATA_TYPE_F32);
    info.add_shape(kTensorChunks * kChunkBytes / 4);
    info.set_sha256(sha256.Digest());
  }
  ASSIGN_OR_RETURN(const auto writer, BeginPublish(store, {manifest}));
  for (uint32_t tensor = 0; tensor < writer->missing().size(); ++tensor) {
    for (uint64_t i = 0; i < kTensorChunks; ++i) {
      fill(tensor * kTensorChunks + i);
      RETURN_IF_ERROR(writer->Append(tensor, i * kChunkBytes, Crc32c(chunk), chunk));
    }
  }
  return CommitPublish(store, *writer, 1, 1.0 / static_cast<double>(step));
}

absl::Status ReadLarge(Store& store, const ManifestKey& key) {
  ASSIGN_OR_RETURN(const auto reader, CheckpointReader::Open(store, key));
  while (true) {
    ASSIGN_OR_RETURN(const auto piece, reader->Next());
    if (!piece) return absl::OkStatus();
  }
}

// child cost DIR MEBIBYTES: publishes and reads so much twice, the second superseding the first; prints what
// that wrote, what memory it took at most, and what remains on the disk.
int CostAsChild(const fs::path& directory, uint64_t mebibytes) {
  const std::unique_ptr<Store> store = OpenWithTasks(directory, 1);
  const uint64_t before = NumberIn("/proc/self/io", "wchar:");
  for (const uint64_t step : {1, 2}) {
    const absl::Status published = PublishLarge(*store, step, mebibytes);
    const absl::Status read = ReadLarge(*store, {1, kStage, 0, step});
    if (!published.ok() || !read.ok()) std::cerr << published << " " << read << "\n";
  }
  uint64_t disk_bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file()) disk_bytes += entry.file_size();
  }
  std::cout << "written " << NumberIn("/proc/self/io", "wchar:") - before << "\nresident_kib "
            << NumberIn("/proc/self/status", "VmHWM:") << "\ndisk " << disk_bytes << "\n";
  return 0;
}

// ---- tests
// -------------------------------------------------------------------------------------------------

class StoreProcessTest : public testing::Test {
 protected:
  StoreProcessTest() { fs::create_directories(directory_.path()); }

  uint64_t Acknowledged() const {
    std::ifstream file(directory_.path() / "acknowledged");
    uint64_t step = 0;
    while (file >> step) {
    }
    return step;
  }

  void ExpectWholeAfterReopen() {
    const auto store = Store::Open(directory_.path() / "state");
    ASSERT_TRUE(store.ok()) << store.status();
    ExpectWhole(**store, Acknowledged());
    EXPECT_TRUE(fs::is_empty(directory_.path() / "state" / "incoming"));
  }

  TemporaryDirectory directory_;
};

class CrashPointTest : public StoreProcessTest, public testing::WithParamInterface<const char*> {};

TEST_P(CrashPointTest, LosesNothingAcknowledgedAndKeepsNothingHalf) {
  setenv("RETORT_CRASH_AT", GetParam(), 1);
  ChildProcess child({ThisProgram(), "work", directory_.path(), "4"});
  unsetenv("RETORT_CRASH_AT");
  const ProgramEnd end = child.Wait(60);
  ASSERT_EQ(end.exit_code, 137) << end.err;
  ExpectWholeAfterReopen();
}

// The first commit makes the task, the second takes a publish number, the third makes the publish count.
INSTANTIATE_TEST_SUITE_P(Store, CrashPointTest,
                         testing::Values("store.before_commit:2", "store.after_commit:2",
                                         "store.before_ingest", "store.after_ingest", "store.before_commit:3",
                                         "store.after_commit:3", "store.after_ingest:3", "store.before_drop"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace_if(
                               name.begin(), name.end(), [](char c) { return !isalnum(c); }, '_');
                           return name;
                         });

TEST_F(StoreProcessTest, KilledBetweenPublishesGoesOn) {
  ChildProcess child({ThisProgram(), "work", directory_.path(), "1000000"});
  ASSERT_TRUE(Eventually(60, [this] { return Acknowledged() >= 5; }));
  child.Signal(SIGKILL);
  EXPECT_EQ(child.Wait(60).signal, SIGKILL);
  ExpectWholeAfterReopen();
}

TEST_F(StoreProcessTest, ASecondProcessIsRefusedAndChangesNothing) {
  ChildProcess child({ThisProgram(), "work", directory_.path(), "1000000"});
  ASSERT_TRUE(Eventually(60, [this] { return Acknowledged() >= 1; }));
  const absl::Status refused = Store::Open(directory_.path() / "state").status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr(absl::StrCat((directory_.path() / "state").string(), " is in use by process ",
                                     child.pid(), "; wait for it to end, stop it, or choose another")));
  EXPECT_EQ(VerifyStore(directory_.path() / "state").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(StoreProcessTest, ALargeCheckpointIsWrittenOnceInBoundedMemoryAndGivesItsSpaceBack) {
  constexpr uint64_t kMebibytes = 128;
  constexpr double kPayload = static_cast<double>(kMebibytes << 20);
  const ProgramEnd end =
      RunProgram({ThisProgram(), "cost", directory_.path(), absl::StrCat(kMebibytes)}, 120);
  ASSERT_EQ(end.exit_code, 0) << end.err;
  EXPECT_EQ(end.err, "");
  std::map<std::string, double> costs;
  std::istringstream lines(end.out);
  for (std::string name; lines >> name;) lines >> costs[name];
  EXPECT_GE(costs["written"], 2 * kPayload);
  EXPECT_LE(costs["written"], 1.1 * 2 * kPayload);
  EXPECT_GE(costs["disk"], kPayload);
  EXPECT_LE(costs["disk"], 1.1 * kPayload);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they keep freed memory
  EXPECT_LE(costs["resident_kib"], 64 * 1024);
#endif
  std::cout << end.out;
}

}  // namespace
}  // namespace retort

// Without arguments of ours the tests, else the child: "work DIR STEPS" or "cost DIR MEBIBYTES".
int main(int argc, char** argv) {
  const std::string mode = argc == 4 ? argv[1] : "";
  uint64_t number = 0;
  if ((mode == "work" || mode == "cost") && absl::SimpleAtoi(argv[3], &number)) {
    return mode == "work" ? retort::WorkAsChild(argv[2], number) : retort::CostAsChild(argv[2], number);
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
