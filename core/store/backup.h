// A second copy of a store, and a store out of a copy.
#pragma once

#include <filesystem>

#include "absl/status/status.h"
#include "core/store/store.h"

namespace retort {

// Writes the store as it is at some moment of the call into `target`, which must not exist or be empty; the
// store may be in use meanwhile. On the file system of the store the large files are hard links: cheap, and
// safe from a lost or overwritten store, not from a damaged disk. On another one they are copies. When this
// fails, `target` holds no store.
//   FAILED_PRECONDITION  `target` holds something
absl::Status BackUpStore(Store& store, const std::filesystem::path& target);

// Makes a store in `directory`, which must not exist or be empty, out of a backup, which stays as it is. Its
// epoch, its next token and its next publish grow by a million and its next run id by a thousand: what the
// lost store gave out after the backup is not given out again, so its workers' tokens hold nothing.
//   NOT_FOUND            there is no backup in `backup`
//   FAILED_PRECONDITION  `directory` holds something, or a newer program made the backup
//   DATA_LOSS            the backup is damaged
absl::Status RestoreStore(const std::filesystem::path& backup, const std::filesystem::path& directory);

}  // namespace retort
