// c10d's Store over a Rendezvous. Its errors are LibTorch's exceptions, as c10d expects.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "train/parallel/rendezvous.h"

namespace retort {

// Thread-safe.
class RendezvousStore final : public c10d::Store {
 public:
  // `timeout`: of get and wait, which wait for others to set the keys.
  RendezvousStore(std::shared_ptr<Rendezvous> rendezvous, std::chrono::milliseconds timeout)
      : Store(timeout), rendezvous_(std::move(rendezvous)) {}

  c10::intrusive_ptr<Store> clone() override;
  using Store::compareSet;
  using Store::set;
  void set(const std::string& key, const std::vector<uint8_t>& value) override;
  std::vector<uint8_t> compareSet(const std::string& key, const std::vector<uint8_t>& expected,
                                  const std::vector<uint8_t>& desired) override;
  std::vector<uint8_t> get(const std::string& key) override;
  int64_t add(const std::string& key, int64_t amount) override;
  bool deleteKey(const std::string& key) override;  // false: keys go with their generation
  bool check(const std::vector<std::string>& keys) override;
  int64_t getNumKeys() override;  // throws: nobody needs it
  void wait(const std::vector<std::string>& keys) override;
  void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds& timeout) override;

 private:
  std::vector<std::optional<std::string>> GetNow(const std::vector<std::string>& keys);

  const std::shared_ptr<Rendezvous> rendezvous_;
};

}  // namespace retort
