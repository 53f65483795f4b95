#include "worker/agent/saved.h"

#include <algorithm>

#include "core/base/check.h"
#include "core/base/crc32c.h"
#include "core/base/sha256.h"
#include "core/base/tensor_bytes.h"

namespace retort {
std::vector<v1::LayerCheckpoint> DescribeLayers(const std::vector<SavedLayer>& layers) {
  std::vector<v1::LayerCheckpoint> described;
  for (const SavedLayer& layer : layers) {
    v1::LayerCheckpoint& checkpoint = described.emplace_back();
    checkpoint.set_layer(layer.layer);
    checkpoint.set_step(layer.step);
    checkpoint.set_loss(layer.loss);
    for (const SavedTensor& tensor : layer.tensors) {
      v1::TensorInfo& info = *checkpoint.add_tensors();
      info.set_name(tensor.name);
      info.set_dtype(tensor.dtype);
      info.mutable_shape()->Add(tensor.shape.begin(), tensor.shape.end());
      Sha256 sha256;
      sha256.Add(tensor.bytes);
      info.set_sha256(sha256.Digest());
    }
  }
  return described;
}

ChunkSequence::ChunkSequence(const std::vector<SavedLayer>& layers,
                             const std::vector<v1::TensorIndex>& missing) {
  for (const v1::TensorIndex& place : missing) {
    const auto layer = std::find_if(layers.begin(), layers.end(),
                                    [&](const SavedLayer& saved) { return saved.layer == place.layer(); });
    RETORT_CHECK(layer != layers.end() && place.tensor() < layer->tensors.size())
        << "layer " << place.layer() << " tensor " << place.tensor();
    tensors_.push_back(&layer->tensors[place.tensor()].bytes);
    bytes_ += tensors_.back()->size();
  }
}

bool ChunkSequence::Next(v1::TensorChunk& chunk) {
  while (index_ < tensors_.size() && offset_bytes_ >= tensors_[index_]->size()) {
    ++index_;
    offset_bytes_ = 0;
  }
  if (index_ == tensors_.size()) return false;
  const std::string& bytes = *tensors_[index_];
  const uint64_t size = std::min<uint64_t>(kChunkBytes, bytes.size() - offset_bytes_);
  chunk.set_index(index_);
  chunk.set_offset_bytes(offset_bytes_);
  chunk.set_data(bytes.data() + offset_bytes_, size);
  chunk.set_crc32c(Crc32c(chunk.data()));
  offset_bytes_ += size;
  return true;
}

}  // namespace retort
