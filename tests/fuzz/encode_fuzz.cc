// Any bytes as text: a tokenizer whose vocabulary has all bytes gives them back, with U+FFFD for what is not
// UTF-8, and NFC is the same when it is made of its own result.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/base/check.h"
#include "train/data/nfc.h"
#include "train/data/tokenizer.h"
#include "train/data/utf8.h"

namespace {

std::unique_ptr<retort::Tokenizer> Load(const char* name) {
  auto tokenizer = retort::Tokenizer::Load(std::string(RETORT_SOURCE_DIR "/tests/golden/tokenizer/") + name);
  RETORT_CHECK(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* const bytes = new std::unique_ptr<retort::Tokenizer>(Load("split.json"));
  static const auto* const pieces = new std::unique_ptr<retort::Tokenizer>(Load("pieces.json"));
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::string storage;
  const std::string valid(retort::ToValidUtf8(text, &storage));
  // These swallow the space beside them.
  if (valid.find("<mask>") == std::string::npos && valid.find("<after>") == std::string::npos) {
    RETORT_CHECK((*bytes)->Decode((*bytes)->Encode(text).value(), retort::SpecialTokens::kKeep) == valid);
  }
  // Here U+2581 reads as a space.
  if (valid.find("\u2581") == std::string::npos) {
    RETORT_CHECK((*pieces)->Decode((*pieces)->Encode(text).value(), retort::SpecialTokens::kKeep) == valid);
  }
  const std::string composed = retort::ComposeWhereNeeded(valid);
  const std::string again = retort::ComposeWhereNeeded(composed);
  RETORT_CHECK(again.empty() || again == composed);
  return 0;
}
