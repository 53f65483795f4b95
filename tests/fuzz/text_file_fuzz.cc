// Any bytes as a compressed .jsonl file: the first says how.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/check.h"
#include "tests/fuzz/scratch_file.h"
#include "tool/data/json_line.h"
#include "tool/data/text_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const retort::ScratchFiles files;
  constexpr size_t kEnough = 16 << 20;  // a small file may hold much more text than it is worth to read
  if (size == 0) return 0;
  constexpr const char* kNames[] = {"a.jsonl", "a.jsonl.gz", "a.jsonl.zst"};
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::atomic<bool> stop = false;
  auto file = retort::TextFile::Open(files.Write(kNames[data[0] % 3], bytes), stop);
  RETORT_CHECK(file.ok()) << file.status();
  std::string text;
  for (absl::StatusOr<bool> more = true; more.ok() && *more && text.size() < kEnough;)
    more = file->Read(&text);
  (void)retort::TextOfLine(std::string_view(text).substr(0, text.find('\n')), "text").status();
  return 0;
}
