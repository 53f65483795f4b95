// The verbs of the service, as a user's shell runs them, against the real orchestrator. No worker comes.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/show/words.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/config/job_fixture.h"
#include "core/rpc/call.h"
#include "core/rpc/channel.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "retort/v1/worker_service.grpc.pb.h"
#include "tests/support/cluster.h"

namespace retort {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::StartsWith;

constexpr double kSeconds = 60;

// Whether SIGINT is in the set of signals that /proc names so: SigCgt, handled; ShdPnd, not delivered yet.
bool HasSigint(pid_t pid, const std::string& set) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  const std::string status((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const size_t at = status.find(set + ":\t");
  return at != std::string::npos &&
         std::stoull(status.substr(at + set.size() + 2, 16), nullptr, 16) & (1 << (SIGINT - 1));
}

// Whether its first thread waits in a function of the kernel whose name has this in it.
bool WaitsIn(pid_t pid, const std::string& function) {
  std::string name;
  std::ifstream("/proc/" + std::to_string(pid) + "/wchan") >> name;
  return absl::StrContains(name, function);
}

class ServiceVerbs : public JobFixture {
 protected:
  ServiceVerbs() { Put("job.yaml", kGood); }

  std::vector<std::string> Argv(std::vector<std::string> args) {
    args.insert(args.begin(), RETORT_BIN_DIR "/retort");
    args.insert(args.end(), {"--orchestrator", cluster_.address()});
    return args;
  }
  ProgramEnd Retort(const std::vector<std::string>& args) { return RunProgram(Argv(args), kSeconds); }
  std::string Job() const { return directory_ / "job.yaml"; }
  json Submitted() { return json::parse(Retort({"submit", Job(), "-o", "json"}).out); }

  Cluster cluster_{RETORT_BIN_DIR};
};

TEST_F(ServiceVerbs, SubmitSaysTheIdAndWhatComesNext) {
  const ProgramEnd end = Retort({"submit", Job()});
  EXPECT_EQ(end.exit_code, 0) << end.err;
  EXPECT_EQ(end.out,
            "run smollm2-hybrid is submitted, id 1\n  retort watch smollm2-hybrid\n"
            "  retort logs smollm2-hybrid --follow\n  retort download smollm2-hybrid\n");
}

TEST_F(ServiceVerbs, SubmitRepeatedUnderItsRequestIdMakesOneRun) {
  for (int i = 0; i < 2; ++i) {
    const ProgramEnd end = Retort({"submit", Job(), "--request-id", "nightly", "-o", "json"});
    EXPECT_EQ(json::parse(end.out), (json{{"run_id", "1"}})) << end.err;
  }
  Put("job.yaml", Edited("seed: 7", "seed: 8"));
  const ProgramEnd other = Retort({"submit", Job(), "--request-id", "nightly", "-o", "json"});
  EXPECT_EQ(other.exit_code, 2);
  const json error = json::parse(other.err)["error"];
  EXPECT_EQ(error["code"], "INVALID_ARGUMENT");
  EXPECT_EQ(error["exit_code"], 2);
  EXPECT_EQ(error["request_id"], "nightly");
}

TEST_F(ServiceVerbs, SubmitNeedsNoneOfTheJobsFilesButRefusesABadJob) {
  std::filesystem::remove_all(directory_ / "corpus");
  std::filesystem::remove_all(directory_ / "models");
  EXPECT_EQ(Retort({"submit", Job()}).exit_code, 0);
  Put("job.yaml", Edited("state_size", "state_sise"));
  const ProgramEnd bad = Retort({"submit", Job()});
  EXPECT_EQ(bad.exit_code, 2);
  EXPECT_THAT(bad.err, HasSubstr(Job() + ":5:3: "));
}

TEST_F(ServiceVerbs, SubmitOfANameThatLivesIsAConflict) {
  Submitted();
  const ProgramEnd end = Retort({"submit", Job()});
  EXPECT_EQ(end.exit_code, 5);
  EXPECT_THAT(end.err, AllOf(StartsWith("retort submit: error: "), HasSubstr("smollm2-hybrid")));
}

TEST_F(ServiceVerbs, WaitGivesUpWhenTheTimeIsOverAndSaysThatTheRunGoesOn) {
  const ProgramEnd end = Retort({"submit", Job(), "--wait", "--timeout", "500ms"});
  EXPECT_EQ(end.exit_code, 12);
  EXPECT_THAT(end.err, AllOf(HasSubstr("run submitted"), HasSubstr("it goes on: 'retort watch 1'")));
}

TEST_F(ServiceVerbs, ListAndGetShowTheRun) {
  EXPECT_EQ(Retort({"list"}).out, "NAME   ID   STATE   DONE   LEFT   WORKERS   AGE\n");
  Submitted();
  EXPECT_THAT(Retort({"list"}).out, HasSubstr("\nsmollm2-hybrid    1   queued     0%"));
  EXPECT_EQ(Retort({"list", "--state", "failed"}).out, Retort({"list", "--state", "paused"}).out);
  for (const char* run : {"smollm2-hybrid", "1"}) {
    EXPECT_THAT(Retort({"get", run}).out,
                AllOf(StartsWith("smollm2-hybrid (id 1): queued"), HasSubstr("\nprepare ")));
    const json reply = json::parse(Retort({"get", run, "-o", "json"}).out);
    EXPECT_EQ(reply["run"]["summary"]["state"], "RUN_STATE_QUEUED");
    EXPECT_EQ(reply["job"]["data"]["seed"], "7");
  }
  EXPECT_THAT(Retort({"get", "1", "-o", "yaml"}).out, HasSubstr("    name: \"smollm2-hybrid\"\n"));
}

TEST_F(ServiceVerbs, ARunThatIsNotThereIsCode4InEveryVerb) {
  for (const char* verb :
       {"get", "watch", "logs", "plan", "pause", "resume", "cancel", "retry", "delete", "download"}) {
    const ProgramEnd end = Retort({verb, "nosuch"});
    EXPECT_EQ(end.exit_code, 4) << verb << end.err;
    EXPECT_THAT(end.err, AllOf(StartsWith(std::string("retort ") + verb + ": error: "), HasSubstr("nosuch")))
        << verb;
    EXPECT_EQ(end.out, "") << verb;
  }
  EXPECT_EQ(Retort({"workers", "drain", "nosuch"}).exit_code, 4);
}

TEST_F(ServiceVerbs, DrainWaitsForThatWorkerAndNotForTheNextOneOfItsName) {
  const auto workers = v1::WorkerService::NewStub(MakeChannel(cluster_.address()));
  v1::RegisterRequest registration;
  registration.set_protocol_version(1);
  registration.set_name("alpha");
  registration.mutable_capabilities()->set_compute_path(v1::COMPUTE_PATH_AVX2);
  registration.mutable_capabilities()->set_device(v1::DEVICE_KIND_CPU);
  registration.mutable_capabilities()->set_threads(1);
  registration.mutable_capabilities()->set_memory_bytes(1 << 30);
  registration.mutable_capabilities()->set_measured_gflops(1);
  const auto register_as = [&](uint64_t worker_id) {
    registration.set_worker_id(worker_id);
    const auto reply = Call(*workers, &v1::WorkerService::Stub::Register, registration, kCallDeadline);
    EXPECT_TRUE(reply.ok()) << reply.status();
  };
  register_as(1);
  // Less than the time after which a silent worker is lost.
  ChildProcess drain(Argv({"workers", "drain", "alpha", "--wait", "--timeout", "10s"}));
  EXPECT_TRUE(Eventually(kSeconds, [&] { return absl::StrContains(drain.out(), "told to save"); }));
  register_as(2);
  const ProgramEnd end = drain.Wait(kSeconds);
  EXPECT_EQ(end.exit_code, 0) << end.err;
}

TEST_F(ServiceVerbs, PauseResumeAndCancelGoThroughTheirStates) {
  Submitted();
  const ProgramEnd paused = Retort({"pause", "1", "--wait"});
  EXPECT_EQ(paused.exit_code, 0) << paused.err;
  EXPECT_EQ(paused.out, "run 1 is paused; 'retort resume 1' goes on with it\n");
  EXPECT_EQ(Retort({"resume", "1"}).exit_code, 0);
  const ProgramEnd cancelled = Retort({"cancel", "1", "--wait"});
  EXPECT_EQ(cancelled.exit_code, 0) << cancelled.err;
  EXPECT_EQ(cancelled.out, "run 1 is cancelled\n");
  EXPECT_EQ(Retort({"pause", "1"}).exit_code, 5);
  EXPECT_EQ(Retort({"retry", "1"}).exit_code, 5);
  EXPECT_EQ(Retort({"download", "1", "--out", directory_ / "out"}).exit_code, 5);
}

TEST_F(ServiceVerbs, DeleteRemovesARunThatHasEnded) {
  Submitted();
  const ProgramEnd living = Retort({"delete", "1"});
  EXPECT_EQ(living.exit_code, 5);
  EXPECT_THAT(living.err,
              AllOf(StartsWith("retort delete: error: smollm2-hybrid (run 1) is "), HasSubstr("cancel")));
  Retort({"cancel", "1", "--wait"});
  for (int i = 0; i < 2; ++i) {
    const ProgramEnd deleted = Retort({"delete", "smollm2-hybrid", "--request-id", "clean"});
    EXPECT_EQ(deleted.exit_code, 0) << deleted.err;
    EXPECT_EQ(deleted.out, "run 1 is deleted\n");
  }
  EXPECT_EQ(Retort({"get", "1"}).exit_code, 4);
  EXPECT_EQ(Retort({"list", "-o", "json"}).out, "{\n \"runs\": [],\n \"next_before_run_id\": \"0\"\n}\n");
}

TEST_F(ServiceVerbs, WatchEndsWithTheRunAndItsCode) {
  Submitted();
  ChildProcess watch(Argv({"watch", "smollm2-hybrid"}));
  Retort({"cancel", "1", "--wait"});
  const ProgramEnd end = watch.Wait(kSeconds);
  EXPECT_EQ(end.exit_code, 11);
  EXPECT_THAT(end.out, MatchesRegex("(.*\n)*20..-..-..T..:..:..Z run submitted: smollm2-hybrid, priority 0\n"
                                    "(.*\n)*20..-..-..T..:..:..Z run state changed to cancelled.*\n(.*\n)*"));
  EXPECT_THAT(end.err, StartsWith("retort watch: error: run smollm2-hybrid (id 1): cancelled"));
}

TEST_F(ServiceVerbs, WatchAsJsonIsAnObjectALine) {
  Submitted();
  Retort({"cancel", "1", "--wait"});
  const ProgramEnd end = Retort({"watch", "1", "-o", "json"});
  EXPECT_EQ(end.exit_code, 11);
  std::istringstream lines(end.out);
  std::set<std::string> kinds;
  for (std::string line; std::getline(lines, line);) {
    for (const auto& [key, value] : json::parse(line).items()) kinds.insert(key);
  }
  EXPECT_THAT(kinds, testing::ElementsAre("event", "snapshot"));
  EXPECT_EQ(json::parse(end.err)["error"]["exit_code"], 11);
}

TEST_F(ServiceVerbs, CtrlCEndsAWatchAndNotTheRun) {
  Submitted();
  ChildProcess watch(Argv({"watch", "1"}));
  ASSERT_TRUE(Eventually(kSeconds, [&] { return HasSigint(watch.pid(), "SigCgt"); }));
  watch.Signal(SIGINT);
  const ProgramEnd end = watch.Wait(kSeconds);
  EXPECT_EQ(end.exit_code, 12);
  EXPECT_EQ(end.err, "retort watch: ended; run 1 goes on\n");
  EXPECT_THAT(Retort({"get", "1"}).out, StartsWith("smollm2-hybrid (id 1): queued"));
}

TEST_F(ServiceVerbs, CtrlCEndsAWaitAndNotTheRun) {
  ChildProcess submit(Argv({"submit", Job(), "--wait"}));
  ASSERT_TRUE(Eventually(kSeconds, [&] { return absl::StrContains(submit.err(), "run submitted"); }));
  submit.Signal(SIGINT);
  const ProgramEnd end = submit.Wait(kSeconds);
  EXPECT_EQ(end.exit_code, 12);
  EXPECT_THAT(end.err, HasSubstr("it goes on: 'retort watch 1'"));
  EXPECT_THAT(Retort({"get", "1"}).out, StartsWith("smollm2-hybrid (id 1): queued"));
}

// Nobody reads what the watch writes, so it does not come to look at the first Ctrl-C.
TEST_F(ServiceVerbs, ASecondCtrlCEndsAWatchThatHangs) {
  Submitted();
  const std::string pipe = directory_ / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const int reader = open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
  const int writer = open(pipe.c_str(), O_WRONLY);
  ASSERT_GT(fcntl(writer, F_SETPIPE_SZ, 4096), 0);
  ASSERT_EQ(write(writer, std::string(4096, '-').data(), 4096), 4096);
  ChildProcess watch(
      {"/bin/sh", "-c",
       absl::StrCat("exec ", absl::StrJoin(Argv({"watch", "1", "-o", "json"}), " "), " > ", pipe)});
  ASSERT_TRUE(Eventually(kSeconds, [&] { return WaitsIn(watch.pid(), "pipe_write"); }));
  watch.Signal(SIGINT);
  ASSERT_TRUE(Eventually(kSeconds, [&] { return !HasSigint(watch.pid(), "ShdPnd"); }));
  EXPECT_TRUE(watch.running());
  watch.Signal(SIGINT);
  EXPECT_EQ(watch.Wait(kSeconds).exit_code, 130);
  close(reader);
  close(writer);
}

TEST_F(ServiceVerbs, WatchOutlivesARestartOfTheOrchestrator) {
  Submitted();
  ChildProcess watch(Argv({"watch", "1"}));
  cluster_.EndOrchestrator(SIGKILL);
  cluster_.StartOrchestrator();
  EXPECT_EQ(Retort({"cancel", "1"}).exit_code, 0);
  EXPECT_EQ(watch.Wait(kSeconds).exit_code, 11);
}

// The connection is made while no call waits on it.
TEST_F(ServiceVerbs, FindsAnOrchestratorThatIsBackWithinSeconds) {
  cluster_.EndOrchestrator(SIGKILL);
  ChildProcess list(Argv({"list", "--timeout", "60s"}));
  ASSERT_TRUE(Eventually(kSeconds, [&] { return absl::StrContains(list.err(), "connection refused"); }));
  cluster_.StartOrchestrator();
  const double start = MonotonicSeconds();
  EXPECT_EQ(list.Wait(kSeconds).exit_code, 0);
  EXPECT_LT(MonotonicSeconds() - start, 4);
}

TEST_F(ServiceVerbs, PlanOfAJobReadsTheTeachersShape) {
  Put("models/tiny/config.json", R"({"num_hidden_layers": 8, "hidden_size": 64, "intermediate_size": 128,
      "num_attention_heads": 4, "vocab_size": 512, "max_position_embeddings": 2048})");
  const ProgramEnd end = Retort({"plan", Job()});
  EXPECT_EQ(end.exit_code, 0) << end.err;
  EXPECT_THAT(end.out,
              AllOf(HasSubstr("\nmatrix_orientation "), HasSubstr("assumed"), HasSubstr("in all about ")));
  const json plan = json::parse(Retort({"plan", Job(), "-o", "json"}).out);
  EXPECT_EQ(plan["stages"].size(), 3u);
  EXPECT_EQ(plan["stages"][0]["slices"][0]["seconds_per_step"]["basis"], "BASIS_ASSUMED");
  Submitted();
  const ProgramEnd run = Retort({"plan", "smollm2-hybrid"});
  EXPECT_EQ(run.exit_code, 5) << "not prepared";
}

TEST_F(ServiceVerbs, LogsShowWhatTheOrchestratorDid) {
  Submitted();
  const ProgramEnd end = Retort({"logs"});
  EXPECT_EQ(end.exit_code, 0) << end.err;
  EXPECT_THAT(end.out, HasSubstr(" INFO submitted smollm2-hybrid"));
  EXPECT_EQ(Retort({"logs", "--level", "error"}).out, "");
  EXPECT_THAT(Retort({"logs", "--since", "1 parsec"}).err, HasSubstr("'1 parsec' is no time"));
}

TEST_F(ServiceVerbs, LogsFollowEachLineOnceOverARestartOfTheOrchestrator) {
  Submitted();
  ChildProcess logs(Argv({"logs", "smollm2-hybrid", "--follow"}));
  ASSERT_TRUE(Eventually(kSeconds, [&] { return absl::StrContains(logs.out(), "submitted"); }));
  cluster_.EndOrchestrator(SIGKILL);
  cluster_.StartOrchestrator();
  for (const char* verb : {"pause", "resume", "cancel"}) ASSERT_EQ(Retort({verb, "1"}).exit_code, 0);
  const ProgramEnd end = logs.Wait(kSeconds);
  EXPECT_EQ(end.exit_code, 0) << end.err;
  EXPECT_EQ(end.out, Retort({"logs", "1"}).out);
  EXPECT_EQ(end.err, "");
}

TEST_F(ServiceVerbs, WorkersAreNone) {
  EXPECT_THAT(Retort({"workers"}).out, StartsWith("NAME   STATE"));
  EXPECT_EQ(Retort({"workers", "-o", "json"}).out, "{\n \"workers\": []\n}\n");
}

class EmbeddedService : public JobFixture {};

// The real orchestrator beside a worker that dies at once.
TEST_F(EmbeddedService, GivesUpOnAWorkerThatEndsAgainAndAgain) {
  for (const char* program : {"retort", "retort-orchestrator"}) {
    std::filesystem::copy_file(std::filesystem::path(RETORT_BIN_DIR) / program, directory_ / program);
  }
  Put("retort-worker", "#!/bin/sh\nexit 1\n");
  std::filesystem::permissions(directory_ / "retort-worker", std::filesystem::perms::owner_all);
  Put("job.yaml", kGood);
  const std::filesystem::path out = directory_ / "out";
  const ProgramEnd end = RunProgram(
      {directory_ / "retort", "run", directory_ / "job.yaml", "--out", out, "--workers", "1"}, kSeconds);
  EXPECT_EQ(end.exit_code, 10);
  EXPECT_THAT(end.err, AllOf(HasSubstr("worker-1 ended with exit code 1; starting it again in "),
                             HasSubstr("error: worker-1 ended 5 times in a row, last with exit code 1"),
                             HasSubstr((out / "service/worker-1.log").string())));
  EXPECT_TRUE(std::filesystem::exists(out / "service/store"));
}

// A worker that does not save and leave when it is told to.
TEST_F(EmbeddedService, ASecondCtrlCEndsARunAndItsProcessesAtOnce) {
  for (const char* program : {"retort", "retort-orchestrator"}) {
    std::filesystem::copy_file(std::filesystem::path(RETORT_BIN_DIR) / program, directory_ / program);
  }
  Put("retort-worker",
      "#!/bin/sh\ntrap '' TERM\necho $$ >" + (directory_ / "pid").string() + "\nexec sleep 1000\n");
  std::filesystem::permissions(directory_ / "retort-worker", std::filesystem::perms::owner_all);
  Put("job.yaml", kGood);
  ChildProcess run(
      {directory_ / "retort", "run", directory_ / "job.yaml", "--out", directory_ / "out", "--workers", "1"});
  pid_t worker = 0;
  ASSERT_TRUE(Eventually(kSeconds, [&] { return bool(std::ifstream(directory_ / "pid") >> worker); }));
  run.Signal(SIGINT);
  ASSERT_TRUE(Eventually(kSeconds, [&] { return !HasSigint(run.pid(), "ShdPnd"); }));
  EXPECT_TRUE(run.running());
  run.Signal(SIGINT);
  EXPECT_EQ(run.Wait(kSeconds).exit_code, 130);
  EXPECT_TRUE(Eventually(kSeconds, [&] { return kill(worker, 0) != 0; }));
}

TEST_F(ServiceVerbs, TheEnvironmentNamesTheOrchestratorToo) {
  setenv("RETORT_ORCHESTRATOR", cluster_.address().c_str(), 1);
  EXPECT_EQ(RunProgram({RETORT_BIN_DIR "/retort", "list"}, kSeconds).exit_code, 0);
  unsetenv("RETORT_ORCHESTRATOR");
}

TEST_F(ServiceVerbs, AnAddressThatIsNoneIsCode2AndSaysWhereItCameFrom) {
  ProgramEnd end = RunProgram({RETORT_BIN_DIR "/retort", "list", "--orchestrator", "head"}, kSeconds);
  EXPECT_EQ(end.exit_code, 2);
  EXPECT_EQ(end.err,
            "retort list: error: --orchestrator: 'head' is no address of an orchestrator; write head:7077\n");
  setenv("RETORT_ORCHESTRATOR", "http://head:7077", 1);
  end = RunProgram({RETORT_BIN_DIR "/retort", "list"}, kSeconds);
  unsetenv("RETORT_ORCHESTRATOR");
  EXPECT_EQ(end.exit_code, 2);
  EXPECT_THAT(end.err,
              StartsWith("retort list: error: RETORT_ORCHESTRATOR: 'http://head:7077' is no address"));
}

TEST_F(ServiceVerbs, NobodyThereIsCode3) {
  const ProgramEnd end = RunProgram(
      {RETORT_BIN_DIR "/retort", "list", "--orchestrator", "127.0.0.1:1", "--timeout", "300ms", "-o", "json"},
      kSeconds);
  EXPECT_EQ(end.exit_code, 3);
  const json error = json::parse(end.err)["error"];
  EXPECT_EQ(error["code"], "UNAVAILABLE");
  EXPECT_THAT(error["message"].get<std::string>(), HasSubstr("127.0.0.1:1"));
}

// However the back-off falls, a call is repeated between the second and the sixth second.
TEST_F(ServiceVerbs, NobodyThereIsSaidBeforeTheTimeIsOver) {
  const ProgramEnd end = RunProgram(
      {RETORT_BIN_DIR "/retort", "list", "--orchestrator", "127.0.0.1:1", "--timeout", "6s"}, kSeconds);
  EXPECT_EQ(end.exit_code, 3);
  EXPECT_THAT(end.err, MatchesRegex("retort: no answer from the orchestrator at 127.0.0.1:1 yet: connection "
                                    "refused; trying for 6.0s\n"
                                    "retort list: error: no answer from the orchestrator at 127.0.0.1:1 in "
                                    "6...: connection refused; check that it runs, and name it with .*\n"));
}

}  // namespace
}  // namespace retort
