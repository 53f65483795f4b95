#include "worker/agent/saved.h"

#include "core/base/crc32c.h"
#include "core/base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/agent/checkpoint_assembly.h"

namespace retort {
namespace {

using testing::HasSubstr;

constexpr size_t kMiB = size_t{1} << 20;

SavedTensor TensorOf(const std::string& name, const std::string& bytes) {
  return {.name = name, .dtype = v1::DATA_TYPE_U8, .shape = {bytes.size()}, .bytes = bytes};
}

std::vector<SavedLayer> TwoLayers() {
  std::vector<SavedLayer> layers(2);
  layers[0] = {.layer = 4, .step = 7, .loss = 0.5, .tensors = {}};
  layers[0].tensors.push_back(TensorOf("adam/a", std::string(kMiB + 3, 'x')));
  layers[0].tensors.push_back(TensorOf("empty", ""));
  layers[1] = {.layer = 5, .step = 8, .loss = 0.25, .tensors = {}};
  layers[1].tensors.push_back(TensorOf("student/a", "abc"));
  return layers;
}

v1::TensorIndex Place(uint32_t layer, uint32_t tensor) {
  v1::TensorIndex place;
  place.set_layer(layer);
  place.set_tensor(tensor);
  return place;
}

// What an orchestrator would send of layer 4.
std::vector<v1::FetchCheckpointReply> Stream(const std::vector<SavedLayer>& layers) {
  std::vector<v1::FetchCheckpointReply> messages(1);
  v1::CheckpointInfo& info = *messages[0].mutable_info();
  info.set_identity_sha256("mine");
  info.set_step(7);
  *info.mutable_tensors() = DescribeLayers(layers)[0].tensors();
  ChunkSequence chunks(layers, {Place(4, 0), Place(4, 1)});
  v1::TensorChunk chunk;
  while (chunks.Next(chunk)) *messages.emplace_back().mutable_chunk() = chunk;
  return messages;
}

v1::CheckpointRef Reference() {
  v1::CheckpointRef reference;
  reference.set_stage(v1::STAGE_MATRIX_ORIENTATION);
  reference.set_layer(4);
  reference.set_publish(23);
  return reference;
}

absl::StatusOr<SavedLayer> Assemble(const std::vector<v1::FetchCheckpointReply>& messages) {
  CheckpointAssembly assembly(Reference(), "mine");
  for (const v1::FetchCheckpointReply& message : messages) {
    if (absl::Status status = assembly.Add(message); !status.ok()) return status;
  }
  return assembly.Finish();
}

TEST(DescribeLayers, NamesEveryTensorWithItsDigest) {
  const std::vector<v1::LayerCheckpoint> described = DescribeLayers(TwoLayers());
  ASSERT_EQ(described.size(), 2u);
  EXPECT_EQ(described[1].layer(), 5u);
  EXPECT_EQ(described[1].step(), 8u);
  EXPECT_EQ(described[1].loss(), 0.25);
  EXPECT_EQ(described[1].tensors(0).name(), "student/a");
  EXPECT_EQ(described[1].tensors(0).shape(0), 3u);
  Sha256 sha256;
  sha256.Add("abc");
  EXPECT_EQ(described[1].tensors(0).sha256(), sha256.Digest());
}

TEST(ChunkSequence, CutsTheMissingTensorsInOrder) {
  const std::vector<SavedLayer> layers = TwoLayers();
  ChunkSequence chunks(layers, {Place(5, 0), Place(4, 1), Place(4, 0)});
  EXPECT_EQ(chunks.bytes(), 3 + kMiB + 3);
  v1::TensorChunk chunk;
  ASSERT_TRUE(chunks.Next(chunk));
  EXPECT_EQ(chunk.index(), 0u);
  EXPECT_EQ(chunk.data(), "abc");
  EXPECT_EQ(chunk.crc32c(), Crc32c("abc"));
  ASSERT_TRUE(chunks.Next(chunk));
  EXPECT_EQ(chunk.index(), 2u);
  EXPECT_EQ(chunk.data().size(), kMiB);
  ASSERT_TRUE(chunks.Next(chunk));
  EXPECT_EQ(chunk.offset_bytes(), kMiB);
  EXPECT_EQ(chunk.data(), "xxx");
  EXPECT_FALSE(chunks.Next(chunk));
}

TEST(CheckpointAssembly, GivesTheLayerThatWasSaved) {
  const absl::StatusOr<SavedLayer> layer = Assemble(Stream(TwoLayers()));
  ASSERT_TRUE(layer.ok()) << layer.status();
  EXPECT_EQ(layer->layer, 4u);
  EXPECT_EQ(layer->step, 7u);
  ASSERT_EQ(layer->tensors.size(), 2u);
  EXPECT_EQ(layer->tensors[0].bytes, std::string(kMiB + 3, 'x'));
  EXPECT_EQ(layer->tensors[1].name, "empty");
}

TEST(CheckpointAssembly, RefusesAnotherIdentityByName) {
  std::vector<v1::FetchCheckpointReply> messages = Stream(TwoLayers());
  messages[0].mutable_info()->set_identity_sha256("another");
  const absl::Status status = Assemble(messages).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("checkpoint 23 of stage 1, layer 4"));
}

TEST(CheckpointAssembly, FindsDamage) {
  std::vector<v1::FetchCheckpointReply> messages = Stream(TwoLayers());
  (*messages[2].mutable_chunk()->mutable_data())[0] = 'y';
  EXPECT_EQ(Assemble(messages).status().code(), absl::StatusCode::kDataLoss);
  messages[2].mutable_chunk()->set_crc32c(Crc32c("yxx"));  // the digest still tells
  EXPECT_EQ(Assemble(messages).status().code(), absl::StatusCode::kDataLoss);
}

TEST(CheckpointAssembly, RefusesAStreamThatBreaksTheRules) {
  const std::vector<v1::FetchCheckpointReply> whole = Stream(TwoLayers());
  const auto code = [](const std::vector<v1::FetchCheckpointReply>& messages) {
    return Assemble(messages).status().code();
  };
  EXPECT_EQ(code({}), absl::StatusCode::kUnknown);
  EXPECT_EQ(code({whole[1]}), absl::StatusCode::kUnknown);
  EXPECT_EQ(code({whole[0], whole[1]}), absl::StatusCode::kUnknown);
  EXPECT_EQ(code({whole[0], whole[2]}), absl::StatusCode::kUnknown);
  EXPECT_EQ(code({whole[0], whole[0]}), absl::StatusCode::kUnknown);
  EXPECT_EQ(code({whole[0], whole[1], whole[2], whole[2]}), absl::StatusCode::kUnknown);
}

}  // namespace
}  // namespace retort
