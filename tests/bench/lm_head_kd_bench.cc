// The heads' loss with its gradients beside its own four GEMMs on all tokens at once, and beside the loss as
// everybody writes it, on full logits with autograd.
#include <ATen/ATen.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <malloc.h>

#include <algorithm>
#include <functional>

#include "model/ops/lm_head_kd.h"
#include "tests/bench/bench.h"

namespace retort {
namespace {

constexpr int64_t kTokens = 512, kVocabulary = 49152, kWidth = 576;

// LibTorch's allocator with a count of what is live.
class CountingAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* const data = c10::alloc_cpu(bytes);
    live += static_cast<int64_t>(malloc_usable_size(data));
    peak = std::max(peak, live);
    return {data, data, &Free, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &Free; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

  static inline int64_t live = 0, peak = 0;  // bytes

 private:
  static void Free(void* data) {
    if (data == nullptr) return;
    live -= static_cast<int64_t>(malloc_usable_size(data));
    c10::free_cpu(data);
  }
};

// The most that `function` has allocated at a time beyond what it finds, in MiB.
double PeakMebibytes(const std::function<void()>& function) {
  static CountingAllocator counting;
  c10::Allocator* const usual = c10::GetCPUAllocator();
  c10::SetCPUAllocator(&counting);
  CountingAllocator::live = CountingAllocator::peak = 0;
  function();
  c10::SetCPUAllocator(usual);
  return static_cast<double>(CountingAllocator::peak) / (1 << 20);
}

void BenchLmHeadKd() {
  const at::Tensor hidden = at::randn({kTokens, kWidth}), head = at::randn({kVocabulary, kWidth}) * 0.05;
  const LmHeadLabels labels = {at::randn({kTokens, kWidth}), at::randn({kVocabulary, kWidth}) * 0.05, {}};
  at::Tensor grad_head = at::zeros_like(head), grad_hidden = at::empty_like(hidden);
  at::Tensor logits = at::empty({kTokens, kVocabulary}), teacher_logits = at::empty({kTokens, kVocabulary});
  const at::Tensor trained = hidden.clone().requires_grad_(), trained_head = head.clone().requires_grad_();
  const auto ours = [&] { LmHeadKdGradients(hidden, head, labels, {}, grad_head); };
  const auto plain = [&] {
    const at::Tensor log_s = at::log_softmax(at::mm(trained, trained_head.t()), -1);
    const at::Tensor log_p =
        at::log_softmax(at::mm(labels.teacher_hidden_nE, labels.teacher_head_VE.t()), -1);
    (at::kl_div(log_s, log_p, at::Reduction::Sum, /*log_target=*/true) / kTokens).backward();
    trained.mutable_grad().reset();
    trained_head.mutable_grad().reset();
  };
  const std::vector<double> seconds =
      TimeInterleaved(7, {ours,
                          [&] {
                            at::mm_out(logits, hidden, head.t());
                            at::mm_out(teacher_logits, labels.teacher_hidden_nE, labels.teacher_head_VE.t());
                            at::mm_out(grad_hidden, logits, head);
                            at::mm_out(grad_head, logits.t(), hidden);
                          },
                          plain});
  const std::string name = "lm_head_kd n=512 V=49152 E=576";
  Report(name + ", ours", seconds[0] * 1e3, "ms");
  Report(name + ", four GEMMs", seconds[1] * 1e3, "ms");
  Report(name + ", log_softmax + kl_div", seconds[2] * 1e3, "ms");
  Report(name + ", ours / four GEMMs", seconds[0] / seconds[1], "x", AtMost(1.10));
  Report(name + ", plain / ours", seconds[2] / seconds[0], "x");
  Report(name + ", workspace", PeakMebibytes(ours), "MiB", AtMost(64));
  Report(name + ", workspace of log_softmax + kl_div", PeakMebibytes(plain), "MiB");
}

const bool registered = RegisterBench("lm_head_kd", &BenchLmHeadKd);

}  // namespace
}  // namespace retort
