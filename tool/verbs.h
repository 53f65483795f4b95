// The command lines of retort-model and what it prints for people; no model is touched here, and no torch.
//
// Each Parse function reads the arguments after its verb. It returns the command, or the exit code when the
// command ends there: help was asked for and is on `out`, or the arguments are wrong and `err` says how.
#pragma once

#include <iosfwd>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

#include "tool/data/tokenize.h"
#include "tool/eval.h"
#include "tool/generate.h"
#include "tool/inspect.h"
#include "tool/probe.h"

namespace retort {

template <class Command>
using Parsed = std::variant<Command, int>;

struct EvalCommand {
  EvalOptions options;
  bool json = false;
};
Parsed<EvalCommand> ParseEval(const std::vector<std::string>& args, std::ostream& out, std::ostream& err);

// Tables of what RunEval returns.
std::string RenderEval(const nlohmann::json& result);

Parsed<GenerateOptions> ParseGenerate(const std::vector<std::string>& args, std::ostream& out,
                                      std::ostream& err);

struct InspectCommand {
  InspectOptions options;
  bool json = false;
  bool must_fit = false;
  std::string name = "retort inspect";  // of the command that asked, for messages
};
Parsed<InspectCommand> ParseInspect(const std::vector<std::string>& args, std::ostream& out,
                                    std::ostream& err);

// Tables of what RunInspect returns.
std::string RenderInspect(const nlohmann::json& result);

// Which stages of a job need more memory than a worker has, and how much; empty when all fit.
std::string MissingMemory(const nlohmann::json& result);

struct ProbeCommand {
  ProbeOptions options;
  bool json = false;
};
Parsed<ProbeCommand> ParseProbe(const std::vector<std::string>& args, std::ostream& out, std::ostream& err);

// Tables of what RunProbe returns, and the line for the job file.
std::string RenderProbe(const nlohmann::json& result);

Parsed<TokenizeOptions> ParseTokenize(const std::vector<std::string>& args, std::ostream& out,
                                      std::ostream& err);

// What was written where. `options` are those that gave `report`.
std::string RenderTokenize(const TokenizeOptions& options, const TokenizeReport& report);

}  // namespace retort
