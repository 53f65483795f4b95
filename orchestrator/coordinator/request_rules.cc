#include "orchestrator/coordinator/request_rules.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/base/log.h"
#include "core/base/status_macros.h"

namespace retort::orchestrator {
namespace {

constexpr int kMaxTensors = 16'384;
constexpr uint32_t kMaxLayers = 1'024;
constexpr uint32_t kMaxPageRuns = 1'000;
constexpr int kMaxLogLines = 1'000;
constexpr size_t kMaxLogBytes = size_t{1} << 20;

absl::Status Broken(const std::string& what, const std::string& rule) {
  return absl::InvalidArgumentError(absl::StrCat(what, "; ", rule));
}

// Relative, with '/', without "." and "..".
bool StaysInside(const std::string& path) {
  for (const absl::string_view part : absl::StrSplit(path, '/')) {
    if (part.empty() || part == "." || part == "..") return false;
  }
  return path.find('\\') == std::string::npos && path.find('\0') == std::string::npos;
}

absl::Status CheckTensors(const v1::LayerCheckpoint& layer, bool are_files) {
  const std::string what = absl::StrCat("BeginPublish: layer ", layer.layer());
  const std::string* before = nullptr;
  for (const v1::TensorInfo& info : layer.tensors()) {
    if (before != nullptr && *before >= info.name()) {
      return Broken(absl::StrCat(what, " lists ", info.name(), " after ", *before),
                    "names are unique and ascend");
    }
    if (are_files && (info.dtype() != v1::DATA_TYPE_U8 || !StaysInside(info.name()))) {
      return Broken(absl::StrCat(what, ": '", info.name(), "' is no file of a result"),
                    "it has type U8 and a relative path with '/', without '..'");
    }
    before = &info.name();
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckRequest(const v1::RegisterRequest& request) {
  const v1::Capabilities& has = request.capabilities();
  if (v1::DeviceKind_IsValid(has.device()) && v1::ComputePath_IsValid(has.compute_path())) {
    return absl::OkStatus();
  }
  return Broken(absl::StrCat("Register of ", request.name(), ": device ", has.device(), ", compute_path ",
                             has.compute_path()),
                "they must be values of this protocol");
}

absl::Status CheckRequest(const v1::HeartbeatRequest& request) {
  if (v1::SlicePhase_IsValid(request.progress().phase())) return absl::OkStatus();
  return Broken(absl::StrCat("Heartbeat: phase ", request.progress().phase()),
                "it must be a value of this protocol");
}

absl::Status CheckRequest(const v1::BeginPublishRequest& request) {
  int tensors = 0;
  for (const v1::LayerCheckpoint& layer : request.layers()) {
    tensors += layer.tensors_size();
    RETURN_IF_ERROR(CheckTensors(layer, request.kind() == v1::PUBLISH_KIND_RESULT));
  }
  if (tensors <= kMaxTensors) return absl::OkStatus();
  return Broken(absl::StrCat("BeginPublish: ", tensors, " tensors"),
                absl::StrCat("at most ", kMaxTensors, " in one publish: publish fewer layers at once"));
}

absl::Status CheckRequest(const v1::FetchCheckpointRequest& request) {
  if (v1::Stage_IsValid(request.checkpoint().stage())) return absl::OkStatus();
  return Broken(absl::StrCat("FetchCheckpoint: stage ", request.checkpoint().stage()),
                "it must be a value of this protocol");
}

absl::Status CheckRequest(const v1::CompleteRequest& request) {
  if (request.prepared().shape().layers() <= kMaxLayers) return absl::OkStatus();
  return Broken(absl::StrCat("Complete: a teacher of ", request.prepared().shape().layers(), " layers"),
                absl::StrCat("at most ", kMaxLayers));
}

absl::Status CheckRequest(const v1::ListRequest& request) {
  if (request.page_size() <= kMaxPageRuns) return absl::OkStatus();
  return Broken(absl::StrCat("List: page_size ", request.page_size()),
                absl::StrCat("at most ", kMaxPageRuns));
}

absl::Status CheckRequest(const v1::ShipLogsRequest& request) {
  size_t bytes = 0;
  for (const v1::LogLine& line : request.lines()) {
    bytes += line.ByteSizeLong();
    if (line.text().size() > kMaxLogTextBytes) {
      return Broken(absl::StrCat("ShipLogs: a line of ", line.text().size(), " bytes"),
                    absl::StrCat("at most ", kMaxLogTextBytes));
    }
  }
  if (request.lines_size() <= kMaxLogLines && bytes <= kMaxLogBytes) return absl::OkStatus();
  return Broken(absl::StrCat("ShipLogs: ", request.lines_size(), " lines of ", bytes, " bytes"),
                absl::StrCat("at most ", kMaxLogLines, " and ", kMaxLogBytes));
}

}  // namespace retort::orchestrator
