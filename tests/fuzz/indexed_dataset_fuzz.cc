// Any bytes as a Megatron pair: the first two say how many of the rest are the index.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/base/check.h"
#include "tests/fuzz/scratch_file.h"
#include "train/data/indexed_dataset.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const retort::ScratchFiles files;
  constexpr int32_t kVocabSize = 1000;
  if (size < 2) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 2, size - 2);
  const size_t index_bytes = std::min<size_t>(data[0] | data[1] << 8, rest.size());
  files.Write("a.idx", rest.substr(0, index_bytes));
  const auto dataset =
      retort::IndexedDataset::Open(files.Write("a.bin", rest.substr(index_bytes)), kVocabSize);
  if (!dataset.ok()) return 0;
  std::vector<int32_t> ids(dataset->num_tokens());
  RETORT_CHECK(dataset->ReadTokens(0, ids.size(), ids.data()).ok());
  for (const int32_t id : ids) RETORT_CHECK(id >= 0 && id < kVocabSize) << id;
  uint64_t tokens = 0;
  for (uint64_t i = 0; i < dataset->num_documents(); ++i) {
    RETORT_CHECK(dataset->document(i).offset == tokens);
    tokens += dataset->document(i).size;
  }
  RETORT_CHECK(tokens == ids.size());
  return 0;
}
