// Reads everything in a store: each record of each family, each chunk's checksum, each tensor's digest, and
// whether what refers to something finds it. Changes nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/store/keys.h"
#include "rocksdb/env.h"

namespace retort {

struct Damage {
  Family family;
  std::string message;  // names the key
};

struct VerifyReport {
  uint64_t epoch = 0;
  std::map<Family, uint64_t> records;  // that could be read
  uint64_t chunk_bytes = 0;            // of checkpoint data, read and checked
  // Ranges of chunks that no manifest refers to: no damage, the next start drops them.
  uint64_t leftover_ranges = 0;
  std::vector<Damage> damages;

  // DATA_LOSS, with the number of damages and the first, if there is any.
  absl::Status status() const;
};

// Fails itself as Store::Open does (the store in use, of a newer program, or so damaged that RocksDB does not
// open it), and with NOT_FOUND where there is none. A backup is verified in the same way. `env` as there.
absl::StatusOr<VerifyReport> VerifyStore(const std::filesystem::path& directory, rocksdb::Env* env = nullptr);

// The report for people, a line for each family and each damage.
std::string RenderVerify(const VerifyReport& report);

}  // namespace retort
