// SHA-256. The free functions give 64 lower-case hexadecimal digits and are thread-safe.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

struct evp_md_ctx_st;  // OpenSSL's EVP_MD_CTX

namespace retort {

// Over bytes that arrive in pieces. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  void Add(std::string_view bytes);

  // The 32 bytes of the digest. Ends the computation: call once, and Add no more.
  std::string Digest();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

std::string Sha256Hex(std::string_view bytes);

// Reads the file in pieces, so its size does not matter. CANCELLED soon after `stop`, which may be null, is
// set.
absl::StatusOr<std::string> Sha256HexOfFile(const std::filesystem::path& path,
                                            const std::atomic<bool>* stop = nullptr);

}  // namespace retort
