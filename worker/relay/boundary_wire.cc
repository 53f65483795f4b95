#include "worker/relay/boundary_wire.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/check.h"
#include "core/base/crc32c.h"
#include "core/base/tensor_bytes.h"
#include "core/base/work_names.h"

namespace retort {
namespace {

bool SameBatch(const v1::BatchRef& a, const v1::BatchRef& b) {
  return a.run_id() == b.run_id() && a.stage() == b.stage() && a.step() == b.step() &&
         a.micro_batch() == b.micro_batch() && a.boundary() == b.boundary();
}

}  // namespace

std::string BatchText(const v1::BatchRef& batch) {
  return absl::StrCat(StageName(batch.stage()), ", step ", batch.step(), ", micro-batch ",
                      batch.micro_batch(), ", boundary ", batch.boundary(), " of run ", batch.run_id());
}

bool SendBoundary(const BoundaryHead& head, const at::Tensor& hidden_BTE,
                  const std::function<bool(const v1::PullReply&)>& write) {
  const at::Tensor whole = hidden_BTE.contiguous();
  RETORT_CHECK(whole.scalar_type() == at::kFloat) << BatchText(head.batch);
  const auto* const bytes = static_cast<const char*>(whole.data_ptr());
  const uint64_t total = whole.nbytes();
  v1::PullReply reply;
  *reply.mutable_batch() = head.batch;
  reply.set_teacher_sha256(head.teacher_sha256);
  v1::BoundaryChunk& chunk = *reply.mutable_chunk();
  chunk.set_dtype(v1::DATA_TYPE_F32);
  for (const int64_t size : whole.sizes()) chunk.add_shape(static_cast<uint64_t>(size));
  for (uint64_t offset = 0; offset < total; offset += kChunkBytes) {
    const std::string_view data(bytes + offset, std::min(kChunkBytes, total - offset));
    chunk.set_offset_bytes(offset);
    chunk.set_crc32c(Crc32c(data));
    chunk.set_data(data.data(), data.size());
    if (!write(reply)) return false;
  }
  return true;
}

BoundaryAssembly::BoundaryAssembly(BoundaryHead head, std::vector<int64_t> shape)
    : head_(std::move(head)), hidden_BTE_(at::empty(shape, at::kFloat)) {}

absl::Status BoundaryAssembly::Add(const v1::PullReply& reply) {
  const auto refuse = [this](const std::string& what) {
    return absl::DataLossError(absl::StrCat("the answer to a Pull of ", BatchText(head_.batch), " ", what));
  };
  if (!SameBatch(reply.batch(), head_.batch)) return refuse(absl::StrCat("is of ", BatchText(reply.batch())));
  if (reply.teacher_sha256() != head_.teacher_sha256) return refuse("is another teacher's");
  if (reply.has_waiting()) return absl::OkStatus();
  const v1::BoundaryChunk& chunk = reply.chunk();
  const std::vector<int64_t> shape(chunk.shape().begin(), chunk.shape().end());
  if (chunk.dtype() != v1::DATA_TYPE_F32 || at::IntArrayRef(shape) != hidden_BTE_.sizes()) {
    return refuse(absl::StrCat("is of type ", v1::DataType_Name(chunk.dtype()), " and shape [",
                               absl::StrJoin(shape, ", "), "] instead of float32 [",
                               absl::StrJoin(hidden_BTE_.sizes(), ", "), "]"));
  }
  const uint64_t left = hidden_BTE_.nbytes() - received_bytes_;
  if (chunk.offset_bytes() != received_bytes_ || chunk.data().size() != std::min(kChunkBytes, left)) {
    return refuse(absl::StrCat("has ", chunk.data().size(), " bytes at ", chunk.offset_bytes(), " where ",
                               std::min(kChunkBytes, left), " at ", received_bytes_, " should follow"));
  }
  if (chunk.crc32c() != Crc32c(chunk.data())) {
    return refuse(absl::StrCat("does not have its checksum at byte ", received_bytes_));
  }
  std::memcpy(static_cast<char*>(hidden_BTE_.data_ptr()) + received_bytes_, chunk.data().data(),
              chunk.data().size());
  received_bytes_ += chunk.data().size();
  return absl::OkStatus();
}

absl::StatusOr<at::Tensor> BoundaryAssembly::Finish() const {
  if (received_bytes_ == hidden_BTE_.nbytes()) return hidden_BTE_;
  return absl::DataLossError(absl::StrCat("the answer to a Pull of ", BatchText(head_.batch), " ends after ",
                                          received_bytes_, " of ", hidden_BTE_.nbytes(), " bytes"));
}

}  // namespace retort
