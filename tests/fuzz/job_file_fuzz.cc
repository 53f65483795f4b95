// Any bytes as a job file.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/config/job_file.h"
#include "tests/fuzz/scratch_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const retort::ScratchFiles files;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)retort::LoadJobAlone(files.Write("job.yaml", text)).status();
  return 0;
}
