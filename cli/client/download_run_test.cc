#include "cli/client/download_run.h"

#include <stdlib.h>

#include <latch>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "cli/client/testing_service.h"
#include "core/base/crc32c.h"
#include "core/base/files.h"
#include "core/base/sha256.h"
#include "gmock/gmock.h"
#include "tests/support/child_process.h"

namespace retort {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr size_t kChunk = 1 << 20;
constexpr double kSeconds = 60;
constexpr int kSilentLooks = 10;  // a tenth of a second each: five times the silence that it permits

std::string Bytes(size_t size, char first) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(first + i / 1000);
  return bytes;
}

// Serves three files as the protocol says; the test breaks streams.
class Downloads : public testing::Test {
 protected:
  Downloads() {
    std::string name = (fs::temp_directory_path() / "retort_download_XXXXXX").string();
    RETORT_CHECK(mkdtemp(name.data()) != nullptr) << name;
    out_ = name;
    service_.on_download = [this](const v1::DownloadRequest& request,
                                  grpc::ServerWriter<v1::DownloadReply>& writer) {
      return Serve(request, writer);
    };
  }
  ~Downloads() override {
    if (!has_waited_.try_wait()) has_waited_.count_down();
    fs::remove_all(out_);
  }

  grpc::Status Serve(const v1::DownloadRequest& request, grpc::ServerWriter<v1::DownloadReply>& writer) {
    if (is_late_) has_waited_.wait();
    requests_.push_back(request.file() + "@" + std::to_string(request.offset_bytes()));
    v1::DownloadReply list;
    size_t first = 0;
    for (size_t i = 0; i < files_.size(); ++i) {
      v1::FileInfo* info = list.mutable_files()->add_files();
      info->set_path(files_[i].first);
      info->set_size_bytes(files_[i].second.size());
      info->set_sha256(absl::HexStringToBytes(Sha256Hex(files_[i].second)));
      if (files_[i].first == request.file()) first = i;
    }
    writer.Write(list);
    size_t offset = request.offset_bytes();
    for (size_t i = first; i < files_.size(); ++i, offset = 0) {
      for (; offset < files_[i].second.size(); offset += kChunk) {
        if (chunks_left_-- == 0) {
          if (!is_silent_) return {grpc::StatusCode::UNAVAILABLE, "cut"};
          has_waited_.wait();
        }
        v1::DownloadReply chunk;
        chunk.mutable_chunk()->set_index(i);
        chunk.mutable_chunk()->set_offset_bytes(offset);
        std::string data = files_[i].second.substr(offset, kChunk);
        if (i == 0 && offset == 0 && damaged_ > 0 && damaged_--) data[7] ^= 1;
        chunk.mutable_chunk()->set_crc32c(Crc32c(data));
        chunk.mutable_chunk()->set_data(data);
        writer.Write(chunk);
      }
    }
    return grpc::Status::OK;
  }

  absl::Status Download() {
    Orchestrator orchestrator = Orchestrator::Connect(service_.address(), 10).value();
    v1::RunRef run;
    run.set_id(1);
    return DownloadRun(orchestrator, {.run = run,
                                      .out_dir = out_,
                                      .patience_seconds = 10,
                                      .stream_silence = std::chrono::milliseconds(200),
                                      .on_progress =
                                          [this](const DownloadProgress& at) {
                                            last_ = at;
                                            if (++looks_ == kSilentLooks) has_waited_.count_down();
                                            return at.done_bytes < stop_at_bytes_;
                                          }})
        .status();
  }

  void ExpectWhole() {
    for (const auto& [name, bytes] : files_) EXPECT_TRUE(ReadFile(out_ / name).value() == bytes) << name;
  }

  fs::path out_;
  std::vector<std::pair<std::string, std::string>> files_ = {
      {"student/weights", Bytes(2 * kChunk + 5, 'a')}, {"empty", ""}, {"result.json", "{}\n"}};
  int chunks_left_ = -1;  // negative: no cut
  int damaged_ = 0;
  bool is_late_ = false;    // gives nothing before the client has looked that often for a message
  bool is_silent_ = false;  // at the cut, instead of an error
  std::latch has_waited_{1};
  int looks_ = 0;
  uint64_t stop_at_bytes_ = ~uint64_t{0};
  std::vector<std::string> requests_;
  DownloadProgress last_;
  ScriptedService service_;
};

TEST_F(Downloads, PutEveryFileInPlace) {
  EXPECT_EQ(Download(), absl::OkStatus());
  ExpectWhole();
  EXPECT_THAT(requests_, ElementsAre("@0"));
  EXPECT_EQ(last_.total_bytes, 2 * kChunk + 5 + 3);
  EXPECT_FALSE(fs::exists(out_ / "student/weights.part"));
}

TEST_F(Downloads, GoOnWhereTheStreamBroke) {
  chunks_left_ = 2;
  EXPECT_EQ(Download(), absl::OkStatus());
  ExpectWhole();
  EXPECT_THAT(requests_, ElementsAre("@0", "student/weights@2097152"));
}

TEST_F(Downloads, WaitForTheirTurn) {
  is_late_ = true;
  EXPECT_EQ(Download(), absl::OkStatus());
  ExpectWhole();
  EXPECT_THAT(requests_, ElementsAre("@0")) << "one stream";
}

TEST_F(Downloads, AskAgainWhenAStreamThatHasBegunIsSilent) {
  chunks_left_ = 2;
  is_silent_ = true;
  EXPECT_EQ(Download(), absl::OkStatus());
  ExpectWhole();
  EXPECT_THAT(requests_, ElementsAre("@0", "student/weights@2097152"));
}

TEST_F(Downloads, GoOnWithWhatAnEarlierClientLeft) {
  fs::create_directories(out_ / "student");
  ASSERT_TRUE(
      WriteFileAtomically(out_ / "student/weights.part", files_[0].second.substr(0, kChunk + 7)).ok());
  EXPECT_EQ(Download(), absl::OkStatus());
  ExpectWhole();
  EXPECT_THAT(requests_, ElementsAre("@0", "student/weights@1048576"));
}

TEST_F(Downloads, PassOverFilesThatAreWhole) {
  ASSERT_EQ(Download(), absl::OkStatus());
  fs::remove(out_ / "result.json");
  requests_.clear();
  EXPECT_EQ(Download(), absl::OkStatus());
  ExpectWhole();
  EXPECT_THAT(requests_, ElementsAre("@0", "result.json@0"));
}

TEST_F(Downloads, BeginADamagedFileAgainOnce) {
  damaged_ = 1;
  EXPECT_EQ(Download(), absl::OkStatus());
  ExpectWhole();
  damaged_ = 2;
  fs::remove(out_ / "student/weights");
  const absl::Status status = Download();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("student/weights did not arrive with its digest"));
}

TEST_F(Downloads, ForgetADamagedPart) {
  fs::create_directories(out_ / "student");
  ASSERT_TRUE(WriteFileAtomically(out_ / "student/weights.part", std::string(kChunk, 'x')).ok());
  EXPECT_EQ(Download(), absl::OkStatus());
  ExpectWhole();
}

TEST_F(Downloads, RefuseADirectoryWithAnotherResult) {
  ASSERT_TRUE(WriteFileAtomically(out_ / "result.json", "{\"another\": 1}").ok());
  const absl::Status status = Download();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_FALSE(fs::exists(out_ / "student/weights"));
}

TEST_F(Downloads, RefuseAPathThatLeavesTheDirectory) {
  files_[1].first = "../elsewhere";
  EXPECT_TRUE(absl::IsInvalidArgument(Download()));
}

TEST_F(Downloads, KeepTheirPartWhenStopped) {
  stop_at_bytes_ = kChunk;
  EXPECT_TRUE(absl::IsCancelled(Download()));
  EXPECT_TRUE(fs::exists(out_ / "student/weights.part"));
  stop_at_bytes_ = ~uint64_t{0};
  EXPECT_EQ(Download(), absl::OkStatus());
  ExpectWhole();
}

// A process of its own with a limit on the size of files (1.5 MiB), which as a full disk lets a part of a
// write through and refuses the rest.
TEST_F(Downloads, LeaveNoHoleOnAFullDiskAndGoOn) {
  const std::string download = absl::StrCat("exec ", RETORT_BIN_DIR, "/retort download 1 --out ",
                                            out_.string(), " --orchestrator ", service_.address());
  const fs::path part = out_ / "student/weights.part";
  const ProgramEnd full = RunProgram({"/bin/sh", "-c", "ulimit -f 3072; " + download}, kSeconds);
  EXPECT_EQ(full.exit_code, 10) << full.err;
  EXPECT_THAT(full.err, HasSubstr("cannot write " + part.string() + ": File too large; raise the limit"));
  EXPECT_EQ(fs::file_size(part), 3 << 19);
  requests_.clear();
  const ProgramEnd again = RunProgram({"/bin/sh", "-c", download}, kSeconds);
  EXPECT_EQ(again.exit_code, 0) << again.err;
  ExpectWhole();
  EXPECT_THAT(requests_, ElementsAre("@0", "student/weights@1048576"));
}

TEST(CheckRelativePath, TakesOnlyWhatStaysInside) {
  EXPECT_TRUE(CheckRelativePath("student/model.safetensors").ok());
  for (const char* path : {"", "/etc/passwd", "..", "a/../../b", "./a", "a//b", "a/"}) {
    EXPECT_FALSE(CheckRelativePath(path).ok()) << path;
  }
}

}  // namespace
}  // namespace retort
