#include "orchestrator/service/server.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/rpc/channel.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/impl/server_builder_option.h"
#include "grpcpp/impl/server_builder_plugin.h"
#include "grpcpp/resource_quota.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "orchestrator/service/clock.h"
#include "orchestrator/service/listen_address.h"

namespace retort::orchestrator {
namespace {

constexpr int kCallThreads = 4;
constexpr int kByteThreads = 4;
constexpr size_t kNetworkBytes = size_t{64} << 20;  // gRPC's own buffers
// The timer looks this often for streams that have something to say.
constexpr std::chrono::milliseconds kPoll{100};
// And not more often than this, however much changes.
constexpr std::chrono::milliseconds kRest{10};
constexpr std::chrono::seconds kShutdown{2};

// gRPC's reflection library adds its plugin to every server of a program that links it.
class WithoutReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins, [](const auto& plugin) { return plugin->name() == "proto_server_reflection"; });
  }
};

std::vector<LogSink> Sinks(LogStore& logs, LogWriter* writer) {
  std::vector<LogSink> sinks = {logs.Sink()};
  if (writer != nullptr) sinks.push_back(writer->Sink());
  return sinks;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options) {
  RETURN_IF_ERROR(CheckListenAddress(options.listen));
  ASSIGN_OR_RETURN(std::unique_ptr<Store> store, Store::Open(options.state_directory));
  ASSIGN_OR_RETURN(std::unique_ptr<LogStore> logs, LogStore::Open(options.state_directory / "logs"));
  auto server = std::unique_ptr<Server>(new Server(std::move(store), std::move(logs), options));
  ASSIGN_OR_RETURN(server->coordinator_,
                   Coordinator::Start(*server->store_, options.scheduling, Now, server->log_));
  server->ForgetDeletedRuns();
  RETURN_IF_ERROR(server->Listen(options));
  return server;
}

Server::Server(std::unique_ptr<Store> store, std::unique_ptr<LogStore> logs, const ServerOptions& options)
    : store_(std::move(store)),
      logs_(std::move(logs)),
      log_writer_(options.log == nullptr ? nullptr : std::make_unique<LogWriter>(*options.log)),
      log_(v1::LOG_LEVEL_INFO, UnixMs, Sinks(*logs_, log_writer_.get())),
      uploads_(options.limits.uploads),
      fetches_(options.limits.fetches),
      downloads_(options.limits.downloads) {}

void Server::ForgetDeletedRuns() {
  for (const uint64_t run_id : logs_->loaded_runs()) {
    if (!absl::IsNotFound(coordinator_->StatusOfRun(run_id).status())) continue;
    const absl::Status forgotten = logs_->ForgetRun(run_id);
    if (!forgotten.ok()) {
      log_.Warning(absl::StrCat("log lines of the deleted run ", run_id,
                                " stay until the next start: ", forgotten.ToString()));
    }
  }
}

absl::Status Server::Listen(const ServerOptions& options) {
  calls_ = std::make_unique<WorkPool>(kCallThreads, [this] { WakeTimer(); });
  bytes_ = std::make_unique<WorkPool>(kByteThreads);
  leases_ = std::make_unique<LeaseQueue>(*coordinator_, *calls_, options.limits.lease_wait);
  const ServiceParts parts = {*coordinator_, *logs_,   *calls_,  *bytes_,   streams_,
                              *leases_,      uploads_, fetches_, downloads_};
  worker_service_ = std::make_unique<WorkerService>(parts);
  run_service_ = std::make_unique<RunService>(parts);

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  if (!options.reflection) builder.SetOption(std::make_unique<WithoutReflection>());
  SetServerArguments(builder);
  builder.SetResourceQuota(grpc::ResourceQuota().Resize(kNetworkBytes));
  int port = 0;
  builder.AddListeningPort(options.listen, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(worker_service_.get());
  builder.RegisterService(run_service_.get());
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) return CannotListen(options.listen);
  address_ = absl::StrCat(options.listen.substr(0, options.listen.rfind(':')), ":", port);
  timer_ = std::thread([this] { KeepTime(); });
  log_.Info(absl::StrCat("serves on ", address_));
  return absl::OkStatus();
}

Server::~Server() {
  if (server_ != nullptr) {
    leases_->Stop();
    streams_.StopAll();
    server_->Shutdown(std::chrono::system_clock::now() + kShutdown);
    {
      MutexLock lock(mutex_);
      is_stopping_ = true;
    }
    woken_.notify_all();
    timer_.join();
  }
  // What is still in a pool may be using the other one.
  calls_.reset();
  bytes_.reset();
  server_.reset();
}

void Server::WakeTimer() {
  {
    MutexLock lock(mutex_);
    is_woken_ = true;
  }
  woken_.notify_one();
}

void Server::KeepTime() {
  int64_t due_steady_ms = 0;
  uint64_t changes = 0;
  while (true) {
    if (SteadyMs() >= due_steady_ms || coordinator_->changes() != changes) {
      changes = coordinator_->changes();
      due_steady_ms = coordinator_->Tick();
    }
    leases_->Serve();
    streams_.WakeAll();
    const auto begin = std::chrono::steady_clock::now();
    const auto wait = std::min<std::chrono::steady_clock::duration>(
        kPoll, std::chrono::milliseconds(std::max<int64_t>(due_steady_ms - SteadyMs(), 1)));
    MutexLock lock(mutex_);
    woken_.wait_until(mutex_, begin + kRest,
                      [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return is_stopping_; });
    woken_.wait_until(mutex_, begin + wait,
                      [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return is_stopping_ || is_woken_; });
    if (is_stopping_) return;
    is_woken_ = false;
  }
}

}  // namespace retort::orchestrator
