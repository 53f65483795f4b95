// The files of a succeeded run, fetched so that a broken connection or a killed client loses little.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>

#include "absl/status/statusor.h"
#include "cli/client/orchestrator.h"
#include "core/rpc/call.h"

namespace retort {

struct DownloadProgress {
  uint64_t done_bytes = 0;  // of all files, with those that were there
  uint64_t total_bytes = 0;
};

struct DownloadOptions {
  v1::RunRef run = {};
  std::filesystem::path out_dir;  // made when it is not there; held by the caller (DirectoryLock)
  double patience_seconds = kAnswerSeconds;
  std::chrono::milliseconds stream_silence = kStreamSilence;  // tests lower it
  // Called with every piece and at least ten times a second; false ends the download.
  std::function<bool(const DownloadProgress&)> on_progress;
};

// Each file grows as PATH.part, which a later call goes on with, and is renamed to PATH when its digest is
// right; files that are whole already are not fetched. result.json comes last, so a directory that has it is
// complete. Returns the list.
//   FAILED_PRECONDITION  the run has not succeeded, or out_dir holds another result.json
//   DATA_LOSS            a file does not have its digest, twice in a row
//   CANCELLED            on_progress ended it
absl::StatusOr<v1::FileList> DownloadRun(Orchestrator& orchestrator, const DownloadOptions& options);

// INVALID_ARGUMENT for a path that would leave the directory: absolute, empty, or with "." or "..".
absl::Status CheckRelativePath(const std::string& path);

}  // namespace retort
