// The ActivationService of a worker: answers Pulls from what training has put out, or by the teacher alone.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/server.h"
#include "retort/v1/activation_service.grpc.pb.h"
#include "worker/relay/relay_state.h"
#include "worker/relay/teacher_service.h"

namespace retort {

// Thread-safe. The destructor breaks off what is under way.
class ActivationServer final : private v1::ActivationService::Service {
 public:
  // Listens at `host` (numeric) on a port of the system's choice. UNAVAILABLE when it cannot. `state` and
  // `teacher` outlive it.
  static absl::StatusOr<std::unique_ptr<ActivationServer>> Start(const std::string& host, RelayState& state,
                                                                 TeacherService& teacher);
  ~ActivationServer() override;

  const std::string& address() const { return address_; }  // HOST:PORT

 private:
  using Writer = grpc::ServerWriter<v1::PullReply>;
  class Waiting;

  ActivationServer(RelayState& state, TeacherService& teacher) : state_(state), teacher_(teacher) {}
  grpc::Status Pull(grpc::ServerContext* context, const v1::PullRequest* request, Writer* writer) override;
  absl::Status Answer(const grpc::ServerContext& context, const v1::PullRequest& request, Writer& writer);
  absl::Status AnswerByTeacher(const grpc::ServerContext& context, const v1::PullRequest& request,
                               const std::shared_ptr<const ServedRun>& run, Waiting& waiting, Writer& writer);
  absl::Status Send(const v1::PullRequest& request, const at::Tensor& hidden_BTE, Writer& writer);
  bool IsOver(const grpc::ServerContext& context) const { return is_ending_ || context.IsCancelled(); }

  RelayState& state_;
  TeacherService& teacher_;
  std::atomic<bool> is_ending_ = false;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace retort
