#include "orchestrator/coordinator/publishes.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

namespace retort::orchestrator {

void Publishes::Add(std::shared_ptr<Publish> publish, int64_t now_steady_ms) {
  const uint64_t worker_id = publish->request.worker_id();
  DropOfWorker(worker_id);
  MutexLock lock(mutex_);
  entries_[worker_id] = {std::move(publish), now_steady_ms};
}

std::shared_ptr<Publish> Publishes::Find(uint64_t worker_id, uint64_t number) const {
  MutexLock lock(mutex_);
  const auto found = entries_.find(worker_id);
  return found != entries_.end() && found->second.publish->number == number ? found->second.publish : nullptr;
}

std::shared_ptr<Publish> Publishes::Touch(uint64_t worker_id, uint64_t number, int64_t now_steady_ms) {
  MutexLock lock(mutex_);
  const auto found = entries_.find(worker_id);
  if (found == entries_.end() || found->second.publish->number != number) return nullptr;
  found->second.last_chunk_steady_ms = now_steady_ms;
  return found->second.publish;
}

std::shared_ptr<Publish> Publishes::Await(uint64_t worker_id, uint64_t number) {
  return Touch(worker_id, number, std::numeric_limits<int64_t>::max());
}

template <class Condition>
void Publishes::DropIf(const Condition& condition) {
  std::vector<std::shared_ptr<Publish>> dropped;  // ended without the lock: that removes files
  MutexLock lock(mutex_);
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    if (condition(entry->second)) {
      dropped.push_back(std::move(entry->second.publish));
      entry = entries_.erase(entry);
    } else {
      ++entry;
    }
  }
}

void Publishes::Drop(uint64_t worker_id, uint64_t number) {
  DropIf([=](const Entry& entry) {
    return entry.publish->request.worker_id() == worker_id && entry.publish->number == number;
  });
}

void Publishes::DropOfWorker(uint64_t worker_id) {
  DropIf([=](const Entry& entry) { return entry.publish->request.worker_id() == worker_id; });
}

void Publishes::DropOfTokens(const std::vector<uint64_t>& tokens) {
  if (tokens.empty()) return;
  DropIf([&](const Entry& entry) {
    return std::find(tokens.begin(), tokens.end(), entry.publish->request.token()) != tokens.end();
  });
}

void Publishes::DropSilentSince(int64_t steady_ms) {
  DropIf([=](const Entry& entry) { return entry.last_chunk_steady_ms < steady_ms; });
}

}  // namespace retort::orchestrator
