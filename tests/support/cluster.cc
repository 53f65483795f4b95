#include "tests/support/cluster.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/check.h"
#include "core/base/files.h"
#include "core/rpc/call.h"
#include "core/rpc/channel.h"

namespace retort {
namespace {

constexpr double kStartSeconds = 60, kEndSeconds = 60;
constexpr std::chrono::milliseconds kReadDeadline{60'000};

// What a failed test wants to know of a process that it has not waited for.
void ShowEnd(const std::string& name, ChildProcess& process) {
  if (process.pid() < 0) return;
  constexpr size_t kBytes = 8'000;
  const bool was_running = process.running();
  const std::string err = process.Wait(0).err;
  std::cerr << "---- " << name << (was_running ? ", running" : ", ended by itself") << "\n"
            << err.substr(err.size() - std::min(err.size(), kBytes)) << "\n";
}

std::chrono::system_clock::time_point In(std::chrono::milliseconds time) {
  return std::chrono::system_clock::now() + time;
}

}  // namespace

RunHistory::RunHistory(std::string address, uint64_t run_id)
    : address_(std::move(address)), run_id_(run_id), follower_([this] { Follow(); }) {}

RunHistory::~RunHistory() {
  stop_ = true;
  {
    MutexLock lock(mutex_);
    if (watching_ != nullptr) watching_->TryCancel();
  }
  follower_.join();
}

void RunHistory::Follow() {
  const auto stub = v1::RunService::NewStub(MakeChannel(address_));
  while (!stop_ && !FollowOnce(*stub)) {
    constexpr int kMilliseconds = 20;
    poll(nullptr, 0, kMilliseconds);
  }
}

// Whether the run has ended.
bool RunHistory::FollowOnce(v1::RunService::Stub& stub) {
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  v1::WatchRequest request;
  request.mutable_run()->set_id(run_id_);
  {
    MutexLock lock(mutex_);
    watching_ = &context;
    if (!events_.empty()) request.set_after_sequence(events_.back().sequence());
  }
  if (stop_) context.TryCancel();
  const auto stream = stub.Watch(&context, request);
  for (v1::WatchReply reply; stream->Read(&reply);) {
    MutexLock lock(mutex_);
    if (reply.has_event()) events_.push_back(reply.event());
    if (reply.has_snapshot()) status_ = reply.snapshot();
  }
  const bool over = stream->Finish().ok();
  MutexLock lock(mutex_);
  watching_ = nullptr;
  over_ = over;
  return over;
}

std::vector<v1::Event> RunHistory::events() const {
  MutexLock lock(mutex_);
  return events_;
}

std::vector<v1::Event> RunHistory::OfKind(v1::EventKind kind) const {
  std::vector<v1::Event> found;
  for (v1::Event& event : events()) {
    if (event.kind() == kind) found.push_back(std::move(event));
  }
  return found;
}

v1::RunStatus RunHistory::status() const {
  MutexLock lock(mutex_);
  return status_;
}

bool RunHistory::HasEnded(double seconds) const {
  return Eventually(seconds, [this] {
    MutexLock lock(mutex_);
    return over_;
  });
}

std::string RunHistory::Render() const {
  std::ostringstream text;
  for (const v1::Event& event : events()) {
    text << event.sequence() << " " << v1::EventKind_Name(event.kind()) << " "
         << v1::Stage_Name(event.stage()) << " layers [" << absl::StrJoin(event.layers(), " ") << "] steps ["
         << absl::StrJoin(event.steps(), " ") << "] token " << event.token() << " " << event.worker_name()
         << " " << v1::EndCause_Name(event.cause()) << " " << v1::RunState_Name(event.run_state()) << " "
         << event.text() << "\n";
  }
  return text.str();
}

Cluster::Cluster(std::filesystem::path bin, const std::vector<std::string>& environment,
                 std::vector<std::string> arguments)
    : bin_(std::move(bin)), arguments_(std::move(arguments)) {
  std::string directory = (std::filesystem::temp_directory_path() / "retort_cluster_XXXXXX").string();
  RETORT_CHECK(mkdtemp(directory.data()) != nullptr) << directory;
  directory_ = directory;
  state_ = directory_ / "state";
  StartOrchestrator(environment);
}

Cluster::~Cluster() {
  if (testing::Test::HasFailure()) {
    for (auto& [name, worker] : workers_) ShowEnd(name, *worker);
    ShowEnd("orchestrator", *orchestrator_);
  }
  workers_.clear();
  orchestrator_.reset();
  std::filesystem::remove_all(directory_);
}

void Cluster::StartOrchestrator(const std::vector<std::string>& environment) {
  const std::filesystem::path file = directory_ / "address";
  std::filesystem::remove(file);
  std::vector<std::string> argv = {bin_ / "retort-orchestrator",
                                   "serve",
                                   "--state",
                                   state_,
                                   "--listen",
                                   address_.empty() ? "127.0.0.1:0" : address_,
                                   "--address-file",
                                   file};
  argv.insert(argv.end(), arguments_.begin(), arguments_.end());
  orchestrator_ = std::make_unique<ChildProcess>(argv, environment);
  Eventually(kStartSeconds, [&] { return std::filesystem::exists(file) || !orchestrator_->running(); });
  const absl::StatusOr<std::string> address = ReadFile(file);
  RETORT_CHECK(address.ok()) << address.status().ToString() << "\n" << orchestrator_->Wait(0).err;
  address_ = address->substr(0, address->find('\n'));
  if (stub_ == nullptr) stub_ = v1::RunService::NewStub(MakeChannel(address_));
}

ProgramEnd Cluster::EndOrchestrator(int signal) {
  orchestrator_->Signal(signal);
  return orchestrator_->Wait(kEndSeconds);
}

void Cluster::StartWorker(const std::string& name, const std::filesystem::path& root,
                          const std::vector<std::string>& more_arguments,
                          const std::vector<std::string>& environment) {
  std::vector<std::string> argv = {
      bin_ / "retort-worker", "--orchestrator", address_, "--name", name, "--root", root, "--threads", "1"};
  argv.insert(argv.end(), more_arguments.begin(), more_arguments.end());
  workers_[name] = std::make_unique<ChildProcess>(argv, environment);
}

ProgramEnd Cluster::EndWorker(const std::string& name, int signal) {
  worker(name).Signal(signal);
  worker(name).Signal(SIGCONT);
  return worker(name).Wait(kEndSeconds);
}

size_t Cluster::registered_workers() {
  const auto reply =
      Call(*stub_, &v1::RunService::Stub::ListWorkers, v1::ListWorkersRequest(), kReadDeadline);
  return reply.ok() ? static_cast<size_t>(reply->workers_size()) : 0;
}

uint64_t Cluster::Submit(const v1::JobSpec& job) {
  v1::SubmitRequest request;
  request.set_request_id(absl::StrCat("submit-", ++submits_));
  *request.mutable_job() = job;
  const auto reply = Call(*stub_, &v1::RunService::Stub::Submit, request, kReadDeadline);
  RETORT_CHECK(reply.ok()) << reply.status().ToString();
  return reply->run_id();
}

std::map<std::string, std::string> Cluster::Download(uint64_t run_id) {
  grpc::ClientContext context;
  context.set_deadline(In(kReadDeadline));
  v1::DownloadRequest request;
  request.mutable_run()->set_id(run_id);
  const auto stream = stub_->Download(&context, request);
  v1::FileList list;
  std::map<std::string, std::string> files;
  for (v1::DownloadReply reply; stream->Read(&reply);) {
    if (reply.has_files()) list = reply.files();
    if (reply.has_chunk())
      files[list.files(static_cast<int>(reply.chunk().index())).path()] += reply.chunk().data();
  }
  const grpc::Status end = stream->Finish();
  RETORT_CHECK(end.ok()) << end.error_message();
  RETORT_CHECK(static_cast<int>(files.size()) == list.files_size()) << "run " << run_id;
  return files;
}

}  // namespace retort
