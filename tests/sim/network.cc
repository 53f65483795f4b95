#include "tests/sim/network.h"

namespace retort::sim {

bool Network::IsLost(const std::string& client, bool is_answer) {
  const auto cut = cuts_.find(client);
  const bool is_cut = cut != cuts_.end() && world_.now_ms() < cut->second.until_ms &&
                      (is_answer || !cut->second.of_answers_only);
  return is_cut || world_.Chance(weather_.loss);
}

int64_t Network::DelayMs() {
  return world_.Chance(weather_.slow) ? world_.DrawMs(1'000, 40'000) : world_.DrawMs(1, 40);
}

void Network::Remember(const std::shared_ptr<PendingCall>& call) {
  if (calls_.size() > 200) {
    std::erase_if(calls_, [](const auto& weak) { return weak.expired() || weak.lock()->has_ended(); });
  }
  calls_.push_back(call);
}

void Network::BreakSoon(const std::shared_ptr<PendingCall>& call) {
  world_.After(world_.DrawMs(5, 3'000),
               [call] { call->Break(absl::UnavailableError("the connection broke")); });
}

void Network::BreakAll() {
  for (const std::weak_ptr<PendingCall>& weak : std::exchange(calls_, {})) {
    const std::shared_ptr<PendingCall> call = weak.lock();
    if (call == nullptr || call->has_ended()) continue;
    if (world_.Chance(0.8)) {
      BreakSoon(call);
    } else {
      calls_.push_back(weak);
    }
  }
}

}  // namespace retort::sim
