#include "worker/run/this_machine.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <limits>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/machine_memory.h"
#include "model/ops/compute_path.h"
#include "worker/run/numerics_id.h"

namespace retort {
namespace {

v1::ComputePath ComputePathHere() {
  const std::string path = ComputePath();
  if (path == "plain") return v1::COMPUTE_PATH_PLAIN;
  if (path == "portable") return v1::COMPUTE_PATH_PORTABLE;
  if (path == "avx2") return v1::COMPUTE_PATH_AVX2;
  RETORT_CHECK(path == "avx512") << path;
  return v1::COMPUTE_PATH_AVX512;
}

// Of this boot and this network name: containers of one machine have names, and memory, of their own.
std::string HostId() {
  std::array<char, 256> name = {};
  gethostname(name.data(), name.size() - 1);
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  return absl::StrCat(name.data(), "/", boot);
}

// Empty where the directory cannot be made: each worker then has its own copy of what would lie there.
std::string SharedDirectory(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return "";
  const std::filesystem::path found = std::filesystem::canonical(directory, error);
  return error ? "" : found.string();
}

}  // namespace

void SetComputeThreads(int threads) { at::set_num_threads(threads); }

void UseComputeThreads() {
  thread_local const bool set = [] {
    at::init_num_threads();
    return true;
  }();
  RETORT_CHECK(set);
}

v1::Capabilities MeasureCapabilities(uint64_t memory_bytes,
                                     const std::optional<std::filesystem::path>& weights_directory) {
  UseComputeThreads();
  const v1::Numerics numerics = NumericsHere(0);
  v1::Capabilities capabilities;
  capabilities.set_numerics_id(numerics.numerics_id());
  capabilities.set_compute_path(numerics.compute_path());
  capabilities.set_device(numerics.device());
  capabilities.set_threads(numerics.threads());
  capabilities.set_memory_bytes(memory_bytes);
  capabilities.set_host(HostId());
  capabilities.set_host_memory_bytes(MachineMemoryBytes());
  if (weights_directory) capabilities.set_shared_weights(SharedDirectory(*weights_directory));
  constexpr int kSize = 1024, kRounds = 5;  // the first one warms up
  const at::Tensor a = at::ones({kSize, kSize}), b = at::ones({kSize, kSize});
  at::Tensor c = at::empty({kSize, kSize});
  double best_seconds = std::numeric_limits<double>::max();
  for (int round = 0; round < kRounds; ++round) {
    const double begin = MonotonicSeconds();
    at::mm_out(c, a, b);
    best_seconds = std::min(best_seconds, MonotonicSeconds() - begin);
  }
  capabilities.set_measured_gflops(2.0 * kSize * kSize * kSize / best_seconds / 1e9);
  return capabilities;
}

v1::Numerics NumericsHere(uint32_t micro_batch) {
  v1::Numerics numerics;
  numerics.set_micro_batch(micro_batch);
  numerics.set_threads(static_cast<uint32_t>(at::get_num_threads()));
  numerics.set_compute_path(ComputePathHere());
  numerics.set_device(v1::DEVICE_KIND_CPU);
  numerics.set_boundary_dtype(v1::DATA_TYPE_F32);
  numerics.set_numerics_id(NumericsId());
  return numerics;
}

absl::Status CompareNumerics(const v1::Numerics& asked) {
  const v1::Numerics here = NumericsHere(asked.micro_batch());
  std::vector<std::string> differences;
  const auto compare = [&](const char* what, const std::string& is, const std::string& should) {
    if (is != should) differences.push_back(absl::StrCat(what, " is ", is, ", the run's is ", should));
  };
  compare("threads", absl::StrCat(here.threads()), absl::StrCat(asked.threads()));
  compare("compute_path", v1::ComputePath_Name(here.compute_path()),
          v1::ComputePath_Name(asked.compute_path()));
  compare("device", v1::DeviceKind_Name(here.device()), v1::DeviceKind_Name(asked.device()));
  compare("boundary_dtype", v1::DataType_Name(here.boundary_dtype()),
          v1::DataType_Name(asked.boundary_dtype()));
  compare("numerics_id", here.numerics_id(), asked.numerics_id());
  if (differences.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("this worker cannot give the run's bits: ", absl::StrJoin(differences, "; ")));
}

}  // namespace retort
