#include "tool/inspect.h"

#include <algorithm>
#include <numeric>

#include "core/base/job_memory.h"
#include "core/base/job_work.h"
#include "core/base/status_macros.h"
#include "core/config/job_file.h"
#include "core/config/teacher_shape.h"
#include "model/io/weights_directory.h"
#include "model/lm/language_model.h"
#include "model/student/make_student.h"
#include "model/teacher/teacher.h"
#include "train/probe/keep_attention.h"
#include "train/stages/stage_plan.h"

namespace retort {
namespace {

using nlohmann::json;

int64_t Elements(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

// `mixer`: what the mixers of converted layers are called.
const char* Part(const std::string& name, const char* mixer) {
  if (name.find("embed_tokens") != std::string::npos) return "embedding";
  if (name.find("lm_head") != std::string::npos) return "head";
  if (name.find(".mamba.") != std::string::npos) return mixer;
  if (name.find(".self_attn.") != std::string::npos) return "attention";
  return name.find(".mlp.") != std::string::npos ? "mlp" : "norms";
}

json MemoryJson(const std::string& stage, const MemoryNeed& need, uint64_t memory_bytes, int sharing) {
  const uint64_t peak = need.peak(1.0 / sharing);
  return {{"stage", stage},
          {"process", need.process},
          {"teacher", need.teacher},
          {"student", need.student},
          {"optimizer", need.optimizer},
          {"checkpoint", need.checkpoint},
          {"activations", need.activations},
          {"relay", need.relay},
          {"peak", peak},
          {"fits", peak <= memory_bytes}};
}

json StagesJson(const v1::JobSpec& job) {
  json stages = json::array();
  for (const StagePlan& plan : PlanStages(job)) {
    stages.push_back({{"name", StageName(plan.stage)},
                      {"steps", plan.steps},
                      {"tokens", plan.steps * plan.tokens_per_step()},
                      {"tokens_per_step", plan.tokens_per_step()},
                      {"accumulation", plan.micro_batches},
                      {"lr", plan.lr}});
  }
  return stages;
}

// Of stages 1 and 2 for the last of the layers, which needs most of the teacher.
json StagesMemoryJson(const v1::JobSpec& job, const v1::ModelShape& shape, uint32_t last_layer,
                      const InspectOptions& options) {
  json memory = json::array();
  if (AwaitsProbe(job.student().keep_attention())) {
    memory.push_back(MemoryJson("probe", ProbeMemory(job, shape), options.memory_bytes, /*sharing=*/1));
  }
  for (const StagePlan& plan : PlanStages(job)) {
    if (plan.stage == Stage::kEndToEnd) continue;
    memory.push_back(
        MemoryJson(StageName(plan.stage),
                   SliceMemory(job, shape, static_cast<v1::Stage>(plan.stage), last_layer, /*layers=*/1),
                   options.memory_bytes, options.sharing));
  }
  const uint64_t ranks = std::max(1U, job.stages().end_to_end().world_size());
  memory.push_back(MemoryJson(StageName(Stage::kEndToEnd), EndToEndMemory(job, shape, ranks),
                              options.memory_bytes, options.sharing));
  return memory;
}

// Whether a teacher's weights are beside its config.json, which is enough for a look at a job. Fails as
// WeightsDirectory::Open where they are and no run could use them.
absl::StatusOr<bool> HasWeights(const std::filesystem::path& directory) {
  const absl::Status opened = WeightsDirectory::Open(directory).status();
  if (absl::IsNotFound(opened)) return false;
  RETURN_IF_ERROR(opened);
  return true;
}

absl::StatusOr<json> InspectJob(const InspectOptions& options) {
  ASSIGN_OR_RETURN(const v1::JobSpec job, LoadJobAlone(options.model));
  const std::filesystem::path beside = options.model.parent_path();
  std::vector<std::filesystem::path> places = {beside.empty() ? "." : beside};
  places.insert(places.end(), options.roots.begin(), options.roots.end());
  ASSIGN_OR_RETURN(const std::filesystem::path directory, ResolvePath(job.teacher().path(), places));
  ASSIGN_OR_RETURN(const ModelConfig teacher, ReadTeacherConfig(directory));
  ASSIGN_OR_RETURN(const ModelConfig student, StudentConfig(teacher, job.student()));
  json described = DescribeModel(student);
  described["kind"] = "job";
  ASSIGN_OR_RETURN(described["has_weights"], HasWeights(directory));
  described["name"] = job.name();
  described["teacher_parameters"] = DescribeModel(teacher)["parameters"]["total"];
  described["stages"] = StagesJson(job);
  ASSIGN_OR_RETURN(const v1::ModelShape shape, ReadTeacherShape(directory));
  ASSIGN_OR_RETURN(const std::vector<uint32_t> converted,
                   ConvertedLayers(shape.layers(), job.student().keep_attention()));
  const v1::KeepAttention& keep = job.student().keep_attention();
  if (AwaitsProbe(keep)) described["probe"] = {{"keep", keep.auto_layers()}, {"steps", keep.probe_steps()}};
  described["memory"] = StagesMemoryJson(job, shape, converted.back(), options);
  described["worker_memory"] = options.memory_bytes;
  described["sharing"] = options.sharing;
  return described;
}

}  // namespace

nlohmann::json DescribeModel(const ModelConfig& config) {
  const char* const mixer = Mamba2FormName(config.mamba2.form);
  json layers = json::array();
  for (MixerType type : config.layers) {
    layers.push_back({{"mixer", type == MixerType::kMamba2 ? mixer : "attention"}, {"parameters", 0}});
  }
  json parameters = {{"total", 0}};
  const std::string layer_prefix = "model.layers.";
  const LanguageModel empty = EmptyModel(config);
  for (const auto& tensor : ModelTensors(empty)) {
    const std::string& name = tensor.name;
    const int64_t count = Elements(tensor.shape);
    parameters["total"] = parameters["total"].get<int64_t>() + count;
    json& part = parameters[Part(name, mixer)];
    part = (part.is_null() ? 0 : part.get<int64_t>()) + count;
    if (name.rfind(layer_prefix, 0) == 0) {
      json& layer = layers[std::stoul(name.substr(layer_prefix.size()))]["parameters"];
      layer = layer.get<int64_t>() + count;
    }
  }
  json shape = {{"family", config.family->model_type},
                {"vocab_size", config.vocab_size},
                {"hidden_size", config.hidden_size},
                {"mlp_size", config.intermediate_size},
                {"heads", config.heads},
                {"kv_heads", config.kv_heads},
                {"head_dim", config.head_dim},
                {"context", config.context},
                {"tied_head", config.tied_head}};
  if (config.is_student()) {
    shape["mamba2_state_size"] = config.mamba2.state_size;
    shape["mamba2_groups"] = config.mamba2.groups;
  }
  return json{{"config", shape}, {"layers", layers}, {"parameters", parameters}};
}

absl::StatusOr<json> RunInspect(const InspectOptions& options) {
  std::error_code unreadable;  // such a path counts as a missing directory
  if (std::filesystem::is_regular_file(options.model, unreadable)) return InspectJob(options);
  ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(options.model));
  json described = DescribeModel(config);
  described["kind"] = config.is_student() ? "student" : "teacher";
  return described;
}

}  // namespace retort
