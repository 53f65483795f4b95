// The way between the processes and the orchestrator: messages are delayed, lost, doubled, overtaken, and
// links are cut for a time. What a caller sees of that is what gRPC would show: the reply, UNAVAILABLE, or
// DEADLINE_EXCEEDED, once.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/sim/world.h"

namespace retort::sim {

struct Weather {
  double loss = 0;       // of a message
  double duplicate = 0;  // of a request
  double slow = 0;       // of a message: seconds instead of milliseconds
};

template <class Reply>
using Respond = std::function<void(absl::StatusOr<Reply>)>;

// How a request came to the server.
struct Delivery {
  // The caller still waits for this very copy's answer.
  bool is_awaited = false;
};

class PendingCall {
 public:
  virtual ~PendingCall() = default;
  // Ends it for its caller, unless it has ended.
  virtual void Break(const absl::Status& status) = 0;
  virtual bool has_ended() const = 0;
};

// A call as its caller sees it: it ends once.
template <class Reply>
class OpenCall final : public PendingCall {
 public:
  explicit OpenCall(Respond<Reply> done) : done_(std::move(done)) {}
  void End(const absl::StatusOr<Reply>& reply) {
    if (done_ == nullptr) return;
    const Respond<Reply> done = std::exchange(done_, nullptr);
    done(reply);
  }
  void Break(const absl::Status& status) override { End(status); }
  bool has_ended() const override { return done_ == nullptr; }

 private:
  Respond<Reply> done_;
};

class Network {
 public:
  explicit Network(World& world) : world_(world) {}

  void SetWeather(const Weather& weather) { weather_ = weather; }
  const Weather& weather() const { return weather_; }
  // Nothing to this client passes until then, and nothing from it, unless the cut is of its answers only.
  void Cut(const std::string& client, int64_t until_ms, bool of_answers_only) {
    cuts_[client] = {until_ms, of_answers_only};
  }
  void MendAll() { cuts_.clear(); }

  // For a stream: its end at the client. Whoever carries the messages ends it.
  template <class Reply>
  std::shared_ptr<OpenCall<Reply>> Open(int64_t deadline_ms, Respond<Reply> done) {
    auto call = std::make_shared<OpenCall<Reply>>(std::move(done));
    Remember(call);
    world_.After(deadline_ms, [call] { call->Break(absl::DeadlineExceededError("no answer in time")); });
    return call;
  }

  // `serve` runs at the server, once for each copy that arrives, and may answer at any time; `done` runs at
  // the client exactly once.
  template <class Reply>
  std::shared_ptr<PendingCall> Call(const std::string& client, int64_t deadline_ms,
                                    std::function<void(Delivery, Respond<Reply>)> serve,
                                    Respond<Reply> done) {
    auto call = Open<Reply>(deadline_ms, std::move(done));
    const int copies = world_.Chance(weather_.duplicate) ? 2 : 1;
    for (int copy = 0; copy < copies; ++copy) {
      if (IsLost(client)) {
        if (world_.Chance(0.5)) BreakSoon(call);
        continue;
      }
      world_.After(DelayMs(), [this, client, call, serve, copy] {
        serve({.is_awaited = copy == 0 && !call->has_ended()},
              [this, client, call](absl::StatusOr<Reply> reply) {
                if (IsLost(client, /*is_answer=*/true)) return;
                world_.After(DelayMs(), [call, reply = std::move(reply)] { call->End(reply); });
              });
      });
    }
    return call;
  }

  // The server's process is gone: most callers hear of it, the others wait for their deadlines.
  void BreakAll();

  bool IsLost(const std::string& client, bool is_answer = false);
  int64_t DelayMs();

 private:
  struct LinkCut {
    int64_t until_ms;
    bool of_answers_only;
  };

  void Remember(const std::shared_ptr<PendingCall>& call);
  void BreakSoon(const std::shared_ptr<PendingCall>& call);

  World& world_;
  Weather weather_;
  std::map<std::string, LinkCut> cuts_;
  std::vector<std::weak_ptr<PendingCall>> calls_;
};

}  // namespace retort::sim
