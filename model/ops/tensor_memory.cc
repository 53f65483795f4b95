#include "model/ops/tensor_memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include <cstring>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace retort {
namespace {

constexpr size_t kHeaderBytes = 64;  // before what the tensor sees: the block's size; keeps the alignment
constexpr size_t kLargestKept = size_t{16} << 20;
constexpr size_t kMostIdle = size_t{1} << 30;

// Of blocks: near sizes share.
size_t RoundedBytes(size_t bytes) {
  const size_t step = bytes < 4096 ? 64 : bytes < 65536 ? 4096 : 32768;
  return (bytes + step - 1) / step * step;
}

class KeptMemory final : public c10::Allocator {
 public:
  static KeptMemory& Get() {
    static KeptMemory& memory = *new KeptMemory;  // outlives all tensors
    return memory;
  }

  c10::DataPtr allocate(size_t bytes) override {
    const size_t rounded = RoundedBytes(bytes);
    void* block = bytes == 0 ? nullptr : TakeIdle(rounded);
    if (block == nullptr && bytes > 0) {
      block = c10::alloc_cpu(rounded + kHeaderBytes);  // throws when memory is exhausted
      std::memcpy(block, &rounded, sizeof(rounded));
    }
    void* const data = block == nullptr ? nullptr : static_cast<char*>(block) + kHeaderBytes;
    return {data, data, &Release, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &Release; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

 private:
  void* TakeIdle(size_t rounded) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto blocks = idle_.find(rounded);
    if (blocks == idle_.end() || blocks->second.empty()) return nullptr;
    void* const block = blocks->second.back();
    blocks->second.pop_back();
    idle_bytes_ -= rounded;
    return block;
  }

  bool Keep(void* block, size_t rounded) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (rounded > kLargestKept || idle_bytes_ + rounded > kMostIdle) return false;
    idle_[rounded].push_back(block);
    idle_bytes_ += rounded;
    return true;
  }

  static void Release(void* data) {
    if (data == nullptr) return;
    void* const block = static_cast<char*>(data) - kHeaderBytes;
    size_t rounded;
    std::memcpy(&rounded, block, sizeof(rounded));
    if (!Get().Keep(block, rounded)) c10::free_cpu(block);
  }

  std::mutex mutex_;
  std::unordered_map<size_t, std::vector<void*>> idle_;  // by rounded size
  size_t idle_bytes_ = 0;
};

}  // namespace

void KeepTensorMemory() {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  c10::SetCPUAllocator(&KeptMemory::Get(), /*priority=*/1);
#endif
}

}  // namespace retort
