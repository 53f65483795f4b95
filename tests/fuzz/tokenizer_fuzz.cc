// Any bytes as a tokenizer.json: refused, or a tokenizer that encodes and decodes.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/check.h"
#include "train/data/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = retort::Tokenizer::FromJson(text);
  if (!tokenizer.ok()) return 0;
  for (const std::string_view part :
       {std::string_view("a b\u00e9 12"), std::string_view(text).substr(0, 100)}) {
    const auto ids = (*tokenizer)->EncodeWhole(part);
    if (!ids.ok()) continue;  // a regular expression gave up
    for (const int32_t id : *ids) RETORT_CHECK(id >= 0 && id < (*tokenizer)->vocab_size()) << id;
    (*tokenizer)->Decode(*ids, retort::SpecialTokens::kKeep);
  }
  return 0;
}
