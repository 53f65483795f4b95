// CRC-32C (Castagnoli polynomial, reflected, as iSCSI has it), the checksum of chunks in the protocol and in
// the store.
#pragma once

#include <cstdint>
#include <string_view>

namespace retort {

// By the processor's own instruction where it has one (SSE 4.2). Thread-safe.
uint32_t Crc32c(std::string_view bytes);

// The same by a table of 256 values, for other processors.
uint32_t Crc32cByTable(std::string_view bytes);

}  // namespace retort
