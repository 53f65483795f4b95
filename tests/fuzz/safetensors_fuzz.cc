// Any bytes as a safetensors file: refused, or every tensor can be read.
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/base/check.h"
#include "model/io/safetensors.h"
#include "tests/fuzz/scratch_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const retort::ScratchFiles files;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto file = retort::SafetensorsFile::Open(files.Write("a.safetensors", bytes));
  if (!file.ok()) return 0;
  for (const std::string& name : file->names()) RETORT_CHECK(file->Read(name).ok()) << name;
  return 0;
}
