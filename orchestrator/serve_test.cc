// retort-orchestrator serve as a process: what a supervisor and its users see of its start and its end.
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/rpc/call.h"
#include "core/rpc/channel.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "orchestrator/state/testing_cluster.h"
#include "retort/v1/run_service.grpc.pb.h"
#include "retort/v1/worker_service.grpc.pb.h"
#include "tests/support/child_process.h"

namespace retort {
namespace {

namespace fs = std::filesystem;
using orchestrator::TestCluster;
using testing::HasSubstr;
using UserStub = v1::RunService::Stub;
using WorkerStub = v1::WorkerService::Stub;

class ServeTest : public testing::Test {
 protected:
  ServeTest() {
    fs::remove_all(directory_);
    fs::create_directories(directory_);
  }
  ~ServeTest() override {
    process_.reset();
    fs::remove_all(directory_);
  }

  std::vector<std::string> Command(std::vector<std::string> more = {}) const {
    std::vector<std::string> argv = {RETORT_BIN_DIR "/retort-orchestrator",
                                     "serve",
                                     "--state",
                                     directory_ / "state",
                                     "--listen",
                                     "127.0.0.1:0"};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
  }

  // With RETORT_CRASH_AT, if not empty.
  void Start(const std::string& crash_at = "") {
    fs::remove(directory_ / "address");
    if (!crash_at.empty()) setenv("RETORT_CRASH_AT", crash_at.c_str(), 1);
    process_ = std::make_unique<ChildProcess>(Command({"--address-file", directory_ / "address"}));
    unsetenv("RETORT_CRASH_AT");
    ASSERT_TRUE(Eventually(30, [this] { return fs::exists(directory_ / "address"); }));
    std::ifstream(directory_ / "address") >> address_;
    user_ = v1::RunService::NewStub(MakeChannel(address_));
    worker_ = v1::WorkerService::NewStub(MakeChannel(address_));
  }

  absl::StatusOr<v1::SubmitReply> Submit(const std::string& name) {
    v1::SubmitRequest request;
    request.set_request_id("submit " + name);
    *request.mutable_job() = orchestrator::SixLayerJob(name);
    return Call(*user_, &UserStub::Submit, request, kCallDeadline);
  }
  int Runs() { return Call(*user_, &UserStub::List, {}, kCallDeadline)->runs_size(); }

  const fs::path directory_ = fs::temp_directory_path() / absl::StrCat("retort_serve_", getpid());
  std::unique_ptr<ChildProcess> process_;
  std::string address_;
  std::unique_ptr<UserStub> user_;
  std::unique_ptr<WorkerStub> worker_;
};

TEST_F(ServeTest, ServesUntilSigterm) {
  Start();
  EXPECT_TRUE(Submit("a").ok());
  process_->Signal(SIGTERM);
  const ProgramEnd end = process_->Wait(20);
  EXPECT_EQ(end.exit_code, 0) << end.err;
  EXPECT_THAT(end.err, HasSubstr("serves on " + address_));
  EXPECT_THAT(end.err, HasSubstr("INFO submitted a (run 1) run=1"));
}

TEST_F(ServeTest, ASecondOneOnTheDirectoryEndsWithConflict) {
  Start();
  const ProgramEnd second = RunProgram(Command(), 20);
  EXPECT_EQ(second.exit_code, 5);
  EXPECT_THAT(second.err, HasSubstr(absl::StrCat("is in use by process ", process_->pid())));
}

TEST_F(ServeTest, SaysWhatIsWrongWithAnAddress) {
  const ProgramEnd end = RunProgram({RETORT_BIN_DIR "/retort-orchestrator", "serve", "--state",
                                     directory_ / "state", "--listen", "nonsense"},
                                    20);
  EXPECT_EQ(end.exit_code, 2);
  EXPECT_THAT(end.err, HasSubstr("'nonsense' is no HOST:PORT"));
  EXPECT_FALSE(fs::exists(directory_ / "state"));
}

TEST_F(ServeTest, AStartThatCannotListenLeavesTheStoreAsItWas) {
  Start();
  const ProgramEnd end = RunProgram(
      {RETORT_BIN_DIR "/retort-orchestrator", "serve", "--state", directory_ / "other", "--listen", address_},
      20);
  EXPECT_EQ(end.exit_code, 3);
  EXPECT_THAT(end.err, HasSubstr("cannot listen on " + address_));
  EXPECT_FALSE(fs::exists(directory_ / "other"));
}

TEST_F(ServeTest, EndsWhenACallerHasSeenALaterOrchestrator) {
  Start();
  ASSERT_TRUE(Call(*worker_, &WorkerStub::Register, TestCluster::RegistrationOf("w1"), kCallDeadline).ok());
  v1::HeartbeatRequest request;
  request.set_worker_id(TestCluster::IdOfWorker("w1"));
  request.set_epoch(99);
  EXPECT_EQ(Call(*worker_, &WorkerStub::Heartbeat, request, kCallDeadline).status().code(),
            absl::StatusCode::kUnavailable);
  const ProgramEnd end = process_->Wait(20);
  EXPECT_EQ(end.exit_code, 3);
  EXPECT_THAT(end.err, HasSubstr("a later one has taken the store"));
}

TEST_F(ServeTest, KeepsWhatItAnsweredOverACrash) {
  Start("store.before_commit:3");  // the start's event and one submit are before
  EXPECT_TRUE(Submit("a").ok());
  EXPECT_FALSE(Submit("b").ok());
  EXPECT_EQ(process_->Wait(20).exit_code, 137);
  Start();
  EXPECT_EQ(Runs(), 1);
  EXPECT_EQ(Submit("a")->run_id(), 1u) << "the same request";
  EXPECT_EQ(Submit("b")->run_id(), 2u);
  process_->Signal(SIGKILL);
  process_->Wait(20);
  Start("store.after_commit:2");
  EXPECT_FALSE(Submit("c").ok());
  EXPECT_EQ(process_->Wait(20).exit_code, 137);
  Start();
  EXPECT_EQ(Runs(), 3) << "it was on the disk, although nobody was told";
  EXPECT_EQ(Submit("c")->run_id(), 3u);
}

}  // namespace
}  // namespace retort
