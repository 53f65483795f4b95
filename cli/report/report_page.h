// A finished run as one page to look at, print and send: report.html. Pure.
#pragma once

#include <iosfwd>
#include <string>

#include "absl/status/statusor.h"
#include "cli/report/run_files.h"

namespace retort {

// HTML that needs nothing beside it: no script, no other file, no network. Light or dark as the reader's
// system is, and fit for paper. DATA_LOSS when the files are not those of one run.
absl::StatusOr<std::string> ReportPage(const RunFiles& files);

// Reads the files of `directory` and writes its report.html. Errors as ReadRunFiles.
absl::Status WriteReport(const std::filesystem::path& directory);

// WriteReport for a command that has done what was asked for: without a report it says so on `err`.
void NoteReport(const std::string& command, const std::filesystem::path& directory, std::ostream& err);

}  // namespace retort
