// Any bytes as a tokenizer.json: refused, or a tokenizer that encodes and decodes.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "train/data/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = retort::Tokenizer::FromJson(text);
  // A regular expression may take as long as it likes.
  if (!tokenizer.ok() || text.find("Regex") != std::string::npos) return 0;
  for (const std::string_view part :
       {std::string_view("a b\u00e9 12"), std::string_view(text).substr(0, 100)}) {
    const std::vector<int32_t> ids = (*tokenizer)->EncodeWhole(part);
    for (const int32_t id : ids) {
      if (id < 0 || id >= (*tokenizer)->vocab_size()) __builtin_trap();
    }
    (*tokenizer)->Decode(ids, retort::SpecialTokens::kKeep);
  }
  return 0;
}
