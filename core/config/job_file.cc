#include "core/config/job_file.h"

#include <functional>
#include <map>
#include <set>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/files.h"
#include "core/base/job_work.h"
#include "core/base/json_keys.h"
#include "core/base/status_macros.h"
#include "core/base/work_names.h"
#include "core/config/job_reader.h"
#include "core/config/yaml_tree.h"
#include "nlohmann/json.hpp"

namespace retort {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<std::string> ReadJobFile(const fs::path& file) {
  constexpr uintmax_t kMaxBytes = 1 << 20;
  std::error_code error;
  const fs::file_status status = fs::status(file, error);
  if (status.type() == fs::file_type::not_found) {
    return absl::NotFoundError(absl::StrCat("job file ", file.string(), " does not exist; check the path"));
  }
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    return absl::InvalidArgumentError(absl::StrCat("job file ", file.string(), " is not a regular file"));
  }
  if (fs::file_size(file, error) > kMaxBytes && !error) {
    return absl::InvalidArgumentError(
        absl::StrCat("job file ", file.string(), " is larger than 1 MiB; is it another file?"));
  }
  return ReadFile(file);
}

// What the keys say about each other.
class KeyChecks {
 public:
  KeyChecks(const v1::JobSpec& job, const JobReader& reader, JobErrors& errors)
      : job_(job), reader_(reader), errors_(errors) {}

  void Run() const {
    CheckKeptLayers();
    CheckStages();
    CheckPhases();
    CheckPrompts();
  }

 private:
  bool HasAll(const std::vector<std::string>& paths) const {
    for (const std::string& path : paths) {
      if (!reader_.Has(path)) return false;
    }
    return true;
  }

  void AddAt(const std::string& path, const std::string& what) const {
    errors_.Add(reader_.PositionOf(path), absl::StrCat(path, ": ", what));
  }

  void CheckKeptLayers() const {
    const std::string every = "student.keep_attention.every", offset = "student.keep_attention.offset";
    const v1::KeepAttention& kept = job_.student().keep_attention();
    if (HasAll({every, offset}) && kept.offset() >= kept.every()) {
      AddAt(offset, absl::StrCat(kept.offset(), " is never the remainder of a division by every: ",
                                 kept.every(), "; give 0 to ", kept.every() - 1));
    }
    const std::string automatic = "student.keep_attention.auto";
    const v1::StagesSpec& stages = job_.stages();
    if (HasAll({automatic, "stages"}) && !stages.has_matrix_orientation() &&
        !stages.has_hidden_state_alignment()) {
      AddAt(automatic,
            "a probe converts layers by matrix_orientation and hidden_state_alignment, and the job has "
            "neither; give one, or name the layers");
    }
  }

  void CheckStages() const {
    if (!reader_.Has("stages")) return;
    const v1::StagesSpec& stages = job_.stages();
    if (!stages.has_matrix_orientation() && !stages.has_hidden_state_alignment() &&
        !stages.has_end_to_end()) {
      AddAt("stages",
            "no stage is given, so nothing would be trained; give matrix_orientation, "
            "hidden_state_alignment or end_to_end");
    }
    CheckStep("stages.matrix_orientation", stages.matrix_orientation().budget());
    CheckStep("stages.hidden_state_alignment", stages.hidden_state_alignment().budget());
    CheckStep("stages.end_to_end", stages.end_to_end().budget());
    CheckRanks();
    const std::string train = "stages.hidden_state_alignment.train";
    if (HasAll({train, "stages.hidden_state_alignment.target"}) &&
        stages.hidden_state_alignment().train() == v1::TRAIN_SCOPE_BLOCK &&
        stages.hidden_state_alignment().target() != v1::ALIGNMENT_TARGET_BLOCK) {
      AddAt(train,
            "block needs target: block, since the mixer's output does not depend on the MLP; give "
            "train: mixer or target: block");
    }
  }

  void CheckStep(const std::string& stage, const v1::StageBudget& budget) const {
    const std::string path = stage + ".tokens_per_step";
    if (!HasAll({path, "data.seq_len", "micro_batch"})) return;
    const uint64_t unit = uint64_t{job_.data().seq_len()} * job_.micro_batch();
    const uint64_t below = budget.tokens_per_step() / unit * unit;
    if (below == budget.tokens_per_step()) return;
    AddAt(path, absl::StrCat(budget.tokens_per_step(), " is not a multiple of data.seq_len x micro_batch = ",
                             job_.data().seq_len(), " x ", job_.micro_batch(), "; give ",
                             below > 0 ? absl::StrCat(below, " or ") : "", below + unit));
  }

  void CheckPhases() const {
    const google::protobuf::RepeatedPtrField<v1::DataPhase>& phases = job_.data().phases();
    std::map<int, int> last;  // of each stage
    for (int i = 0; i < phases.size(); ++i) {
      const std::string stage = absl::StrCat("data.phases[", i, "].stage");
      const std::string from = absl::StrCat("data.phases[", i, "].from");
      if (!HasAll({stage, from})) continue;
      const v1::StageBudget* const budget = BudgetOf(phases[i].stage());
      if (budget == nullptr) {
        AddAt(stage, absl::StrCat("the job has no stage ", StageName(phases[i].stage()),
                                  "; give it in stages, or remove this phase"));
      } else if (phases[i].from_tokens() >= budget->tokens() && budget->tokens() > 0) {
        AddAt(from, absl::StrCat(phases[i].from_tokens(), " is not before the end of ",
                                 StageName(phases[i].stage()), ", which has ", budget->tokens(),
                                 " tokens; give less"));
      } else if (HasAll({absl::StrCat("stages.", StageName(phases[i].stage()), ".tokens_per_step"),
                         "data.seq_len"})) {
        CheckPhaseIsReached(phases[i], *budget, from);
      }
      const auto [before, is_first] = last.emplace(phases[i].stage(), i);
      if (!is_first && FirstSequence(phases[i]) <= FirstSequence(phases[before->second])) {
        AddAt(from, absl::StrCat(phases[i].from_tokens(), " is not a sequence after ",
                                 phases[before->second].from_tokens(), ", where data.phases[", before->second,
                                 "] of the same stage begins; put a stage's phases in order"));
      }
      before->second = i;
    }
  }

  // Batches are of whole sequences.
  uint64_t FirstSequence(const v1::DataPhase& phase) const {
    const uint64_t seq_len = std::max(1U, job_.data().seq_len());
    return phase.from_tokens() / seq_len + (phase.from_tokens() % seq_len != 0 ? 1 : 0);
  }

  void CheckPhaseIsReached(const v1::DataPhase& phase, const v1::StageBudget& budget,
                           const std::string& from) const {
    if (budget.tokens_per_step() == 0) return;
    const uint64_t seq_len = job_.data().seq_len();
    const uint64_t sequences = StageSteps(budget) * (budget.tokens_per_step() / seq_len);
    if (sequences == 0 || FirstSequence(phase) < sequences) return;
    AddAt(from, absl::StrCat(phase.from_tokens(), " lies in the last of the ", sequences, " sequences of ",
                             StageName(phase.stage()), ", so the phase would never begin; give at most ",
                             (sequences - 1) * seq_len));
  }

  // nullptr: the job skips the stage.
  const v1::StageBudget* BudgetOf(v1::Stage stage) const {
    const v1::StagesSpec& stages = job_.stages();
    if (stage == v1::STAGE_MATRIX_ORIENTATION && stages.has_matrix_orientation()) {
      return &stages.matrix_orientation().budget();
    }
    if (stage == v1::STAGE_HIDDEN_STATE_ALIGNMENT && stages.has_hidden_state_alignment()) {
      return &stages.hidden_state_alignment().budget();
    }
    return stage == v1::STAGE_END_TO_END && stages.has_end_to_end() ? &stages.end_to_end().budget() : nullptr;
  }

  void CheckRanks() const {
    const std::string path = "stages.end_to_end.world_size";
    if (!HasAll({path, "stages.end_to_end.tokens_per_step", "data.seq_len"})) return;
    const uint32_t ranks = job_.stages().end_to_end().world_size();
    const uint64_t sequences = EndToEndSequences(job_);
    if (ranks <= sequences) return;
    AddAt(path,
          absl::StrCat(ranks, " workers cannot share out the ", sequences,
                       " sequences of a step; give auto, at most ", sequences, ", or more tokens_per_step"));
  }

  void CheckPrompts() const {
    const std::string seq_len = "data.seq_len";
    if (!HasAll(
            {seq_len, "evaluation.prompts", "evaluation.prompt_tokens", "evaluation.continuation_tokens"}))
      return;
    const v1::EvaluationSpec& evaluation = job_.evaluation();
    const uint64_t length = uint64_t{evaluation.prompt_tokens()} + evaluation.continuation_tokens();
    if (evaluation.prompts() == 0 || length <= job_.data().seq_len()) return;
    AddAt(seq_len, absl::StrCat(job_.data().seq_len(), " is less than a prompt and its continuation, ",
                                evaluation.prompt_tokens(), " + ", evaluation.continuation_tokens(),
                                "; give at least ", length,
                                ", or less in evaluation.prompt_tokens and "
                                "evaluation.continuation_tokens, or evaluation: {prompts: 0}"));
  }

  const v1::JobSpec& job_;
  const JobReader& reader_;
  JobErrors& errors_;
};

// The files that are trained on, each with its key.
std::vector<std::pair<std::string, std::string>> TrainKeys(const v1::DataSpec& data) {
  std::vector<std::pair<std::string, std::string>> keys;
  const auto add = [&keys](const std::string& list, const auto& files) {
    for (int i = 0; i < files.size(); ++i) keys.emplace_back(absl::StrCat(list, "[", i, "]"), files[i]);
  };
  add("data.train", data.train());
  for (int i = 0; i < data.phases_size(); ++i) {
    add(absl::StrCat("data.phases[", i, "].train"), data.phases(i).train());
  }
  return keys;
}

// That the files a job names are there.
class FileChecks {
 public:
  FileChecks(const JobReader& reader, const std::vector<fs::path>& roots, JobErrors& errors)
      : reader_(reader), roots_(roots), errors_(errors) {}

  void CheckTeacher(const std::string& key, const std::string& written) const {
    const absl::StatusOr<fs::path> path = Resolve(key, written);
    if (!path.ok()) return;
    std::error_code error;
    if (!fs::is_directory(*path, error)) {
      Add(key, absl::StrCat(Quoted(written), " is not a directory; give the one that holds config.json"));
    } else if (!fs::is_regular_file(*path / "config.json", error)) {
      Add(key,
          absl::StrCat("there is no config.json in ", path->string(), "; give a Hugging Face directory"));
    }
  }

  void CheckTokens(const std::string& key, const std::string& written) const {
    const fs::path extension = fs::path(written).extension();
    if (extension != ".bin") {
      Add(key, absl::StrCat(Quoted(written),
                            " does not end in .bin; make tokens of a text with `retort data "
                            "tokenize` and name their .bin"));
      return;
    }
    const absl::StatusOr<fs::path> path = Resolve(key, written);
    if (!path.ok()) return;
    std::error_code error;
    const fs::path index = fs::path(*path).replace_extension(".idx");
    if (!fs::is_regular_file(*path, error)) {
      Add(key, absl::StrCat(Quoted(written), " is not a regular file; give a .bin of tokens"));
    } else if (!fs::is_regular_file(index, error)) {
      Add(key, absl::StrCat("there is no ", index.string(), "; keep a .bin and its .idx together"));
    }
  }

  // Text that was trained on measures nothing.
  void CheckHeldOut(const std::string& key, const std::string& written, const v1::DataSpec& data) const {
    const absl::StatusOr<fs::path> path = ResolvePath(written, roots_);
    if (!path.ok()) return;
    for (const auto& [train_key, train_written] : TrainKeys(data)) {
      const absl::StatusOr<fs::path> train = ResolvePath(train_written, roots_);
      std::error_code error;
      if (!train.ok() || !fs::equivalent(*path, *train, error)) continue;
      Add(key, absl::StrCat(Quoted(written), " is also ", train_key,
                            ", so it would measure what was learnt by heart; give text that is held out"));
    }
  }

 private:
  absl::StatusOr<fs::path> Resolve(const std::string& key, const std::string& written) const {
    absl::StatusOr<fs::path> path = ResolvePath(written, roots_);
    if (!path.ok()) Add(key, std::string(path.status().message()));
    return path;
  }

  void Add(const std::string& key, const std::string& what) const {
    errors_.Add(reader_.PositionOf(key), absl::StrCat(key, ": ", what));
  }

  const JobReader& reader_;
  const std::vector<fs::path>& roots_;
  JobErrors& errors_;
};

// What a job asks of its teacher, as far as config.json tells: the loader of the model reads it whole and
// says what is wrong with the file itself.
class TeacherChecks {
 public:
  TeacherChecks(const v1::JobSpec& job, const JobReader& reader, JobErrors& errors)
      : job_(job), reader_(reader), errors_(errors) {}

  void Run(const fs::path& teacher) const {
    const absl::StatusOr<std::string> text = ReadFile(teacher / "config.json");
    if (!text.ok()) return;
    const absl::StatusOr<nlohmann::json> config = ParseJson(*text);
    if (!config.ok()) return;
    const auto size = [&config](const char* key) {
      const nlohmann::json& value = Field(*config, key);
      return value.is_number_unsigned() ? value.get<uint64_t>() : 0;  // 0: unknown
    };
    CheckGroups(size("num_attention_heads"));
    CheckKept(size("num_hidden_layers"));
    CheckSequence(size("max_position_embeddings"));
  }

 private:
  void CheckGroups(uint64_t heads) const {
    const std::string key = "student.groups";
    if (heads == 0 || !reader_.Has(key) || heads % job_.student().groups() == 0) return;
    Add(key, absl::StrCat(job_.student().groups(), " does not divide the teacher's ", heads,
                          " query heads; give a divisor"));
  }

  void CheckKept(uint64_t layers) const {
    const std::string key = "student.keep_attention";
    if (layers == 0 || !reader_.Has(key)) return;
    const uint32_t chosen = job_.student().keep_attention().auto_layers();
    if (chosen >= layers) {
      Add(key + ".auto", absl::StrCat("the teacher has ", layers, " layers, so at most ", layers - 1,
                                      " can stay attention; give fewer than ", chosen));
    }
    std::set<uint64_t> kept;
    for (const uint64_t layer : job_.student().keep_attention().layers()) {
      if (layer >= layers) {
        Add(key, absl::StrCat("the teacher has no layer ", layer, "; give 0 to ", layers - 1));
      }
      kept.insert(layer);
    }
    if (kept.size() == layers) {
      Add(key, absl::StrCat("all ", layers, " layers are kept, so nothing is left to convert; give fewer"));
    }
  }

  void CheckSequence(uint64_t context) const {
    const std::string key = "data.seq_len";
    if (context < 2 || !reader_.Has(key) || job_.data().seq_len() <= context) return;
    Add(key,
        absl::StrCat(job_.data().seq_len(), " is longer than the teacher's context; give at most ", context));
  }

  void Add(const std::string& key, const std::string& what) const {
    errors_.Add(reader_.PositionOf(key), absl::StrCat(key, ": ", what));
  }

  const v1::JobSpec& job_;
  const JobReader& reader_;
  JobErrors& errors_;
};

void CheckFiles(const v1::JobSpec& job, const JobReader& reader, const std::vector<fs::path>& roots,
                JobErrors& errors) {
  const FileChecks checks(reader, roots, errors);
  if (reader.Has("teacher.path")) {
    checks.CheckTeacher("teacher.path", job.teacher().path());
    const absl::StatusOr<fs::path> teacher = ResolvePath(job.teacher().path(), roots);
    if (teacher.ok()) TeacherChecks(job, reader, errors).Run(*teacher);
  }
  for (const auto& [key, written] : TrainKeys(job.data())) checks.CheckTokens(key, written);
  for (const auto& [key, written] :
       {std::pair("data.eval", job.data().eval()), std::pair("data.off_domain", job.data().off_domain())}) {
    if (!reader.Has(key)) continue;
    checks.CheckTokens(key, written);
    checks.CheckHeldOut(key, written, job.data());
  }
}

absl::StatusOr<v1::JobSpec> Load(
    const fs::path& file,
    const std::function<void(const v1::JobSpec&, const JobReader&, JobErrors&)>& check_more) {
  ASSIGN_OR_RETURN(const std::string text, ReadJobFile(file));
  ASSIGN_OR_RETURN(const YamlNode root, ParseYaml(text, file.string()));
  JobErrors errors;
  JobReader reader(errors);
  v1::JobSpec job = reader.Read(root);
  if (job.student().mixer() == v1::MIXER_KIND_MAMBA2 && job.student().groups() == 0) {
    job.mutable_student()->set_groups(1);
  }
  if (AwaitsProbe(job.student().keep_attention()) && job.student().keep_attention().probe_steps() == 0) {
    job.mutable_student()->mutable_keep_attention()->set_probe_steps(kProbeSteps);
  }
  KeyChecks(job, reader, errors).Run();
  check_more(job, reader, errors);
  RETURN_IF_ERROR(errors.ToStatus(file.string()));
  return job;
}

}  // namespace

absl::StatusOr<v1::JobSpec> LoadJob(const fs::path& file, const std::vector<fs::path>& roots) {
  std::vector<fs::path> places = {file.has_parent_path() ? file.parent_path() : fs::path(".")};
  places.insert(places.end(), roots.begin(), roots.end());
  return Load(file, [&places](const v1::JobSpec& job, const JobReader& reader, JobErrors& errors) {
    CheckFiles(job, reader, places, errors);
  });
}

absl::StatusOr<v1::JobSpec> LoadJobAlone(const fs::path& file) {
  return Load(file, [](const v1::JobSpec&, const JobReader&, JobErrors&) {});
}

absl::StatusOr<fs::path> ResolvePath(std::string_view written, const std::vector<fs::path>& roots) {
  std::vector<std::string> looked_at;
  for (const fs::path& root : fs::path(written).is_absolute() ? std::vector<fs::path>{fs::path()} : roots) {
    const fs::path path = root / written;
    std::error_code error;
    if (fs::exists(path, error)) return path;
    looked_at.push_back(error ? absl::StrCat(path.string(), " (", error.message(), ")") : path.string());
  }
  const std::string where = looked_at.empty() ? "nowhere" : absl::StrJoin(looked_at, ", ");
  return absl::NotFoundError(absl::StrCat(Quoted(std::string(written)), " does not exist; looked at ", where,
                                          "; correct the path or add a directory with --root"));
}

}  // namespace retort
