#include "worker/relay/boundary_wire.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "core/base/tensor_bytes.h"

namespace retort {
namespace {

using testing::HasSubstr;

const std::vector<int64_t> kShape = {2, 300, 576};  // more than one chunk, the last one short

BoundaryHead Head() {
  BoundaryHead head;
  head.batch.set_run_id(3);
  head.batch.set_stage(v1::STAGE_MATRIX_ORIENTATION);
  head.batch.set_step(7);
  head.batch.set_boundary(2);
  head.teacher_sha256 = "teacher";
  return head;
}

std::vector<v1::PullReply> Messages(const at::Tensor& hidden_BTE) {
  std::vector<v1::PullReply> messages;
  EXPECT_TRUE(SendBoundary(Head(), hidden_BTE, [&](const v1::PullReply& reply) {
    messages.push_back(reply);
    return true;
  }));
  return messages;
}

absl::StatusOr<at::Tensor> Assemble(const std::vector<v1::PullReply>& messages) {
  BoundaryAssembly assembly(Head(), kShape);
  for (const v1::PullReply& message : messages) {
    if (const absl::Status status = assembly.Add(message); !status.ok()) return status;
  }
  return assembly.Finish();
}

// One message of a good answer, changed.
template <class Change>
absl::Status WithChanged(size_t message, Change change) {
  std::vector<v1::PullReply> messages = Messages(at::rand(kShape));
  change(messages[message]);
  return Assemble(messages).status();
}

TEST(BoundaryWire, BringsATensorOverInChunksBitByBit) {
  const at::Tensor sent = at::rand(kShape).transpose(0, 1).contiguous().transpose(0, 1);
  const std::vector<v1::PullReply> messages = Messages(sent);
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[0].chunk().data().size(), kChunkBytes);
  EXPECT_EQ(messages[1].chunk().data().size(), 2 * 300 * 576 * 4 - kChunkBytes);
  const at::Tensor received = Assemble(messages).value();
  EXPECT_EQ(std::memcmp(received.data_ptr(), sent.contiguous().data_ptr(), sent.nbytes()), 0);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(received.data_ptr()) % 64, 0u) << "MKL's bits depend on it";
}

TEST(BoundaryWire, RefusesWhatIsNotWhatWasAskedFor) {
  EXPECT_THAT(WithChanged(0, [](auto& m) { m.mutable_batch()->set_step(8); }).message(),
              HasSubstr("is of matrix_orientation, step 8, micro-batch 0, boundary 2 of run 3"));
  EXPECT_THAT(WithChanged(1, [](auto& m) { m.set_teacher_sha256("x"); }).message(),
              HasSubstr("is another teacher's"));
  EXPECT_THAT(WithChanged(0, [](auto& m) { m.mutable_chunk()->set_shape(2, 575); }).message(),
              HasSubstr("shape [2, 300, 575] instead of float32 [2, 300, 576]"));
  EXPECT_THAT(WithChanged(0, [](auto& m) { m.mutable_chunk()->set_dtype(v1::DATA_TYPE_BF16); }).message(),
              HasSubstr("DATA_TYPE_BF16"));
}

TEST(BoundaryWire, RefusesDamagedMissingAndRepeatedBytes) {
  const absl::Status damaged = WithChanged(1, [](auto& m) { (*m.mutable_chunk()->mutable_data())[5] ^= 1; });
  EXPECT_EQ(damaged.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(damaged.message(), HasSubstr("does not have its checksum at byte 1048576"));
  EXPECT_THAT(WithChanged(1, [](auto& m) { m.mutable_chunk()->set_offset_bytes(0); }).message(),
              HasSubstr("at 0 where 333824 at 1048576 should follow"));
  std::vector<v1::PullReply> messages = Messages(at::rand(kShape));
  messages.pop_back();
  EXPECT_THAT(Assemble(messages).status().message(), HasSubstr("ends after 1048576 of 1382400 bytes"));
}

TEST(BoundaryWire, PassesOverSignsOfLife) {
  std::vector<v1::PullReply> messages = Messages(at::rand(kShape));
  v1::PullReply waiting = messages[0];
  waiting.mutable_waiting();
  messages.insert(messages.begin(), waiting);
  EXPECT_TRUE(Assemble(messages).ok());
}

}  // namespace
}  // namespace retort
