// retort-model: what `retort eval|generate|inspect|probe|data` execute. Reads and writes model and data
// directories; opens no network connection.
#include <iostream>

#include "core/base/clock.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"
#include "core/base/interrupt.h"
#include "core/base/process.h"
#include "core/base/progress.h"
#include "core/base/standard_streams.h"
#include "model/ops/vector_math.h"
#include "tool/verbs.h"

namespace retort {
namespace {

using Args = std::vector<std::string>;

int Eval(const Args& args) {
  const Parsed<EvalCommand> parsed = ParseEval(args, std::cout, std::cerr);
  if (const int* exit_code = std::get_if<int>(&parsed)) {
    return *exit_code;
  }
  const EvalCommand& command = std::get<EvalCommand>(parsed);
  Progress progress(std::cerr, ProgressOptionsForStderr(), MonotonicSeconds);
  const absl::StatusOr<nlohmann::json> result = RunEval(command.options, progress, InstallInterruptHandler());
  if (!result.ok()) {
    return ReportError("retort eval", result.status(), std::cerr);
  }
  std::cout << (command.json ? result->dump(2) + "\n" : RenderEval(*result));
  return kExitOk;
}

int Generate(const Args& args) {
  const Parsed<GenerateOptions> parsed = ParseGenerate(args, std::cout, std::cerr);
  if (const int* exit_code = std::get_if<int>(&parsed)) {
    return *exit_code;
  }
  const absl::Status status = RunGenerate(std::get<GenerateOptions>(parsed), std::cout);
  return status.ok() ? kExitOk : ReportError("retort generate", status, std::cerr);
}

int Inspect(const Args& args) {
  const Parsed<InspectCommand> parsed = ParseInspect(args, std::cout, std::cerr);
  if (const int* exit_code = std::get_if<int>(&parsed)) {
    return *exit_code;
  }
  const InspectCommand& command = std::get<InspectCommand>(parsed);
  const absl::StatusOr<nlohmann::json> result = RunInspect(command.options);
  if (!result.ok()) {
    return ReportError(command.name, result.status(), std::cerr);
  }
  std::cout << (command.json ? result->dump(2) + "\n" : RenderInspect(*result));
  const std::string missing = command.must_fit ? MissingMemory(*result) : "";
  return missing.empty() ? kExitOk
                         : ReportError(command.name, absl::ResourceExhaustedError(missing), std::cerr);
}

int Probe(const Args& args) {
  const Parsed<ProbeCommand> parsed = ParseProbe(args, std::cout, std::cerr);
  if (const int* exit_code = std::get_if<int>(&parsed)) {
    return *exit_code;
  }
  const ProbeCommand& command = std::get<ProbeCommand>(parsed);
  Progress progress(std::cerr, ProgressOptionsForStderr(), MonotonicSeconds);
  const absl::StatusOr<nlohmann::json> result =
      RunProbe(command.options, progress, InstallInterruptHandler());
  if (!result.ok()) {
    return ReportError("retort probe", result.status(), std::cerr);
  }
  std::cout << (command.json ? result->dump(2) + "\n" : RenderProbe(*result));
  return kExitOk;
}

int Tokenize(const Args& args) {
  const Parsed<TokenizeOptions> parsed = ParseTokenize(args, std::cout, std::cerr);
  if (const int* exit_code = std::get_if<int>(&parsed)) {
    return *exit_code;
  }
  const TokenizeOptions& options = std::get<TokenizeOptions>(parsed);
  const absl::StatusOr<TokenizeReport> report = TokenizeFiles(options, InstallInterruptHandler());
  if (!report.ok()) {
    return ReportError("retort data tokenize", report.status(), std::cerr);
  }
  std::cout << RenderTokenize(options, *report);
  return kExitOk;
}

int Data(const Args& args) {
  const VerbSet verbs = {
      "retort data",
      "Prepares training data.",
      {"retort data tokenize --tokenizer models/smollm2 --out corpus/train pages/*.txt"},
      {{"tokenize", "Text to token files", Tokenize}},
  };
  return DispatchVerb(verbs, args, std::cout, std::cerr);
}

int Main(const Args& args) {
  const VerbSet verbs = {
      "retort-model",
      "Measures, runs and describes models, and prepares their data. `retort` executes this program.",
      {"retort eval runs/quickstart/student --data corpus/eval.bin",
       "retort generate runs/quickstart/student --prompt \"The menu bar\"", "retort inspect models/smollm2",
       "retort probe job.yaml --keep 8",
       "retort data tokenize --tokenizer models/smollm2 --out corpus/train pages/*.txt"},
      {{"data", "Prepare training data", Data},
       {"eval", "Measure how well a model predicts token files", Eval},
       {"generate", "Continue a text", Generate},
       {"inspect", "Print configuration, layers and parameters", Inspect},
       {"probe", "Measure which layers to keep as attention", Probe}},
  };
  return DispatchVerb(verbs, args, std::cout, std::cerr);
}

}  // namespace
}  // namespace retort

int main(int argc, char** argv) {
  retort::OccupyClosedStandardStreams();
  retort::PrepareNumericProcess();
  retort::ChooseVectorMath();
  const int exit_code = retort::Main(retort::Arguments(argc, argv));
  return retort::FinishOutput("retort", exit_code, std::cout, std::cerr);
}
