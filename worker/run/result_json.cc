#include "worker/run/result_json.h"

#include <sys/resource.h>
#include <sys/utsname.h>
#include <torch/headeronly/version.h>

#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "core/base/version.h"

namespace retort {
namespace {

using nlohmann::json;

std::string ProcessorName() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

}  // namespace

json QualityJson(const Quality& quality) {
  json object = {{"perplexity", quality.perplexity}, {"tokens", quality.tokens}};
  if (quality.beside_teacher) {
    object["kl"] = quality.beside_teacher->kl;
    object["top1_agreement"] = quality.beside_teacher->top1_agreement;
    object["hidden_distance"] = quality.beside_teacher->hidden_distance;
  }
  return object;
}

json NewResult(const std::string& job_name, const json& identity) {
  utsname system = {};
  uname(&system);
  return {{"job", job_name},
          {"identity", identity},
          {"versions", {{"retort", std::string(Version())}, {"libtorch", TORCH_VERSION}}},
          {"host",
           {{"processor", ProcessorName()},
            {"cores", std::thread::hardware_concurrency()},
            {"kernel", absl::StrCat(system.sysname, " ", system.release)}}},
          {"stages", json::array()},
          {"tokens_per_second", json::object()}};
}

int64_t PeakMemoryBytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{1024} * usage.ru_maxrss;
}

}  // namespace retort
