#include "train/parallel/gradient_reducer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <torch/csrc/distributed/c10d/reducer.hpp>

namespace retort {
namespace {

// As torch's DistributedDataParallel has them: a small first one, so that the network has work early.
constexpr size_t kFirstBucketBytes = size_t{1} << 20, kBucketBytes = size_t{25} << 20;

// The collectives of one step.
struct Sums {
  bool has_refused = false;  // one was not even begun
  std::vector<c10::intrusive_ptr<c10::ivalue::Future>> begun;
};

// Adds up, without the Reducer's division by the world size. Called within backward passes, by their thread.
class SumHook final : public c10d::CommHookInterface {
 public:
  SumHook(c10d::ProcessGroup& group, std::shared_ptr<Sums> sums) : group_(group), sums_(std::move(sums)) {}

  c10::intrusive_ptr<c10::ivalue::Future> runHook(c10d::GradBucket& bucket) override {
    std::vector<at::Tensor> tensors = {bucket.getBufferRef()};
    try {
      sums_->begun.push_back(group_.allreduce(tensors)->getFuture());
    } catch (...) {
      sums_->has_refused = true;
      throw;
    }
    return sums_->begun.back();
  }
  at::Tensor parseHookResult(const c10::IValue& result) override {
    return c10d::detail::parseCppCommHookResult(result);
  }

 private:
  c10d::ProcessGroup& group_;
  const std::shared_ptr<Sums> sums_;
};

}  // namespace

struct GradientReducer::Parts {
  std::shared_ptr<Sums> sums = std::make_shared<Sums>();
  std::unique_ptr<c10d::Reducer> reducer;
};

GradientReducer::GradientReducer(RankGroup& group, const std::vector<at::Tensor>& values)
    : parts_(std::make_unique<Parts>()) {
  for (at::Tensor value : values) value.mutable_grad() = at::zeros_like(value);
  const std::vector<size_t> limits = {kFirstBucketBytes, kBucketBytes};
  // In the order in which backward passes reach the parameters.
  const std::vector<at::Tensor> reversed(values.rbegin(), values.rend());
  std::vector<std::vector<size_t>> buckets =
      std::get<0>(c10d::compute_bucket_assignment_by_size(reversed, limits));
  for (std::vector<size_t>& bucket : buckets) {
    for (size_t& index : bucket) index = values.size() - 1 - index;
  }
  // Never rebuilt: a group that is formed anew would then sum in another order.
  parts_->reducer = std::make_unique<c10d::Reducer>(
      values, std::move(buckets),
      c10::intrusive_ptr<c10d::ProcessGroup>::reclaim_copy(&group.process_group()),
      std::vector<bool>(values.size(), false), static_cast<int64_t>(kBucketBytes),
      /*find_unused_parameters=*/false, /*gradient_as_bucket_view=*/true,
      /*param_names=*/std::unordered_map<size_t, std::string>(), static_cast<int64_t>(kFirstBucketBytes),
      /*skip_all_reduce_unused_params=*/false, /*use_python_reducer=*/false,
      /*bucket_bytes_cap_list=*/std::vector<int64_t>());
  parts_->reducer->register_comm_hook(std::make_unique<SumHook>(group.process_group(), parts_->sums));
}

GradientReducer::~GradientReducer() = default;

void GradientReducer::ExpectLastPass() {
  parts_->sums->begun.clear();
  parts_->reducer->prepare_for_backward({});
}

bool GradientReducer::has_failed() const {
  const Sums& sums = *parts_->sums;
  return sums.has_refused || std::any_of(sums.begun.begin(), sums.begun.end(),
                                         [](const auto& sum) { return sum->completed() && sum->hasError(); });
}

}  // namespace retort
