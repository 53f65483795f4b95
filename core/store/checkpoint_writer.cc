#include "core/store/checkpoint_writer.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/check.h"
#include "core/base/crc32c.h"
#include "core/store/stored_tensor.h"

namespace retort {
namespace {

// What makes two tensors one: digest, type and shape.
std::string ContentOf(const v1::TensorInfo& info) {
  return absl::StrCat(info.sha256(), info.dtype(), ":", absl::StrJoin(info.shape(), ","));
}

absl::Status CheckInfo(const v1::TensorInfo& info, uint64_t bytes) {
  static const std::string& digest_of_nothing = *new std::string(Sha256().Digest());
  if (info.sha256().size() != digest_of_nothing.size()) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", info.name(), " has a digest of ",
                                                   info.sha256().size(), " bytes; SHA-256 has ",
                                                   digest_of_nothing.size()));
  }
  if (bytes == 0 && info.sha256() != digest_of_nothing) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", info.name(), " has no elements, but not the digest of nothing"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<CheckpointWriter>> CheckpointWriter::Begin(
    Store& store, Transaction& transaction, std::vector<v1::ManifestRecord> manifests) {
  RETORT_CHECK(!manifests.empty());
  const uint64_t publish = transaction.TakePublish();
  for (v1::ManifestRecord& manifest : manifests) manifest.set_publish(publish);
  auto writer = std::unique_ptr<CheckpointWriter>(new CheckpointWriter(store, publish, std::move(manifests)));
  RETURN_IF_ERROR(writer->FindPlaces(transaction));
  RETURN_IF_ERROR(writer->CheckRoom());
  return writer;
}

absl::Status CheckpointWriter::FindPlaces(const Transaction& transaction) {
  struct Chunks {
    uint64_t publish;
    uint32_t first;
  };
  std::map<std::string, Chunks> known;  // by content
  RETURN_IF_ERROR(transaction.Scan<ManifestKey>(
      ManifestsOf(manifests_[0].run_id()), [&known](const ManifestKey&, const v1::ManifestRecord& kept) {
        for (const v1::StoredTensor& tensor : kept.tensors()) {
          known.try_emplace(ContentOf(tensor.info()), Chunks{tensor.chunk_publish(), tensor.first_chunk()});
        }
        return absl::OkStatus();
      }));
  uint64_t chunks = 0;
  for (uint32_t m = 0; m < manifests_.size(); ++m) {
    RETORT_CHECK(manifests_[m].run_id() == manifests_[0].run_id());
    for (uint32_t t = 0; t < static_cast<uint32_t>(manifests_[m].tensors_size()); ++t) {
      v1::StoredTensor& tensor = TensorAt({m, t});
      ASSIGN_OR_RETURN(const uint64_t bytes, TensorBytes(tensor.info()));
      RETURN_IF_ERROR(CheckInfo(tensor.info(), bytes));
      const auto [found, is_new] =
          known.try_emplace(ContentOf(tensor.info()), Chunks{publish_, static_cast<uint32_t>(chunks)});
      tensor.set_chunk_publish(found->second.publish);
      tensor.set_first_chunk(found->second.first);
      if (!is_new || bytes == 0) continue;
      missing_.push_back({m, t});
      missing_bytes_ += bytes;
      chunks += ChunkCount(bytes);
      if (chunks > std::numeric_limits<uint32_t>::max()) {
        return absl::InvalidArgumentError(
            absl::StrCat("publish ", publish_, " has more than 2^32 chunks; publish fewer tensors at once"));
      }
    }
  }
  for (const v1::ManifestRecord& manifest : manifests_) pins_.merge(PublishesOf(manifest));
  pins_.insert(publish_);
  store_.chunks().Pin(pins_);
  return absl::OkStatus();
}

absl::Status CheckpointWriter::CheckRoom() const {
  // For the records: when even their log cannot grow, the orchestrator stops.
  constexpr uint64_t kReserveBytes = uint64_t{64} << 20;
  const std::optional<uint64_t> free_bytes = store_.chunks().FreeBytes();
  if (!free_bytes || *free_bytes >= missing_bytes_ + kReserveBytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "publish ", publish_, " has ", missing_bytes_, " bytes, and the disk of ", store_.directory().string(),
      " has ", *free_bytes, " left, of which ", kReserveBytes, " are kept free; free some space"));
}

CheckpointWriter::~CheckpointWriter() {
  if (file_ != nullptr && !is_finished_) {
    file_.reset();
    store_.chunks().DiscardFile(publish_);
  }
  store_.chunks().Unpin(pins_);
}

std::string CheckpointWriter::NameOf(const Place& place) const {
  const v1::ManifestRecord& manifest = manifests_[place.manifest];
  return absl::StrCat("tensor ", manifest.tensors(static_cast<int>(place.tensor)).info().name(), " of ",
                      ToString(KeyOf(manifest)));
}

absl::Status CheckpointWriter::Append(uint32_t index, uint64_t offset_bytes, uint32_t crc32c,
                                      std::string_view data) {
  RETURN_IF_ERROR(failure_);
  failure_ = AppendChunk(index, offset_bytes, crc32c, data);
  return failure_;
}

absl::Status CheckpointWriter::AppendChunk(uint32_t index, uint64_t offset_bytes, uint32_t crc32c,
                                           std::string_view data) {
  if (index_ == missing_.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("publish ", publish_, " is complete: there is no tensor ", index, " to send"));
  }
  const Place& place = missing_[index_];
  if (offset_bytes_ == 0) {
    ASSIGN_OR_RETURN(tensor_bytes_, TensorBytes(TensorAt(place).info()));
  }
  const uint64_t size = std::min(kChunkBytes, tensor_bytes_ - offset_bytes_);
  if (index != index_ || offset_bytes != offset_bytes_ || data.size() != size) {
    return absl::InvalidArgumentError(absl::StrCat(
        "publish ", publish_, ": after chunk ", next_chunk_, " come ", size, " bytes of tensor ", index_,
        " from byte ", offset_bytes_, ", not ", data.size(), " of tensor ", index, " from ", offset_bytes));
  }
  if (Crc32c(data) != crc32c) {
    return absl::DataLossError(absl::StrCat(NameOf(place), " arrived damaged: the chunk at byte ",
                                            offset_bytes, " does not have its checksum; send it again"));
  }
  RETURN_IF_ERROR(WriteChunk(crc32c, data));
  sha256_.Add(data);
  offset_bytes_ += size;
  return offset_bytes_ == tensor_bytes_ ? EndTensor() : absl::OkStatus();
}

absl::Status CheckpointWriter::WriteChunk(uint32_t crc32c, std::string_view data) {
  if (file_ == nullptr) {
    ASSIGN_OR_RETURN(file_, store_.chunks().CreateFile(publish_));
  }
  v1::ChunkRecord chunk;
  chunk.set_version(kRecordVersion);
  chunk.set_crc32c(crc32c);
  chunk.set_data(data.data(), data.size());
  const ChunkKey key = {publish_, next_chunk_++};
  return FromRocksDb(file_->Put(WriteKey(key), chunk.SerializeAsString()),
                     absl::StrCat("cannot write ", ToString(key)));
}

absl::Status CheckpointWriter::EndTensor() {
  const Place& place = missing_[index_];
  RETURN_IF_ERROR(CheckDigest(KeyOf(manifests_[place.manifest]), TensorAt(place).info(),
                              std::exchange(sha256_, Sha256()).Digest()));
  ++index_;
  offset_bytes_ = 0;
  return absl::OkStatus();
}

absl::Status CheckpointWriter::Finish() {
  RETURN_IF_ERROR(failure_);
  if (is_finished_) return absl::OkStatus();
  if (index_ < missing_.size()) {
    return absl::FailedPreconditionError(absl::StrCat(NameOf(missing_[index_]), " has arrived up to byte ",
                                                      offset_bytes_,
                                                      " and not to its end; send the rest, or begin again"));
  }
  if (file_ != nullptr) failure_ = store_.chunks().Ingest(publish_, *file_);
  is_finished_ = failure_.ok();
  return failure_;
}

const std::vector<v1::ManifestRecord>& CheckpointWriter::manifests() const {
  RETORT_CHECK(is_finished_) << "publish " << publish_ << ": its chunks are not durable yet";
  return manifests_;
}

}  // namespace retort
