#include "core/base/sha256.h"

#include <openssl/evp.h>

#include <cerrno>
#include <fstream>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/base/check.h"

namespace retort {
void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  RETORT_CHECK(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
}

void Sha256::Add(std::string_view bytes) {
  RETORT_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

std::string Sha256::Digest() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  RETORT_CHECK(EVP_DigestFinal_ex(context_.get(), digest, &length) == 1);
  return std::string(reinterpret_cast<const char*>(digest), length);
}

std::string Sha256Hex(std::string_view bytes) {
  Sha256 sha256;
  sha256.Add(bytes);
  return absl::BytesToHexString(sha256.Digest());
}

absl::StatusOr<std::string> Sha256HexOfFile(const std::filesystem::path& path,
                                            const std::atomic<bool>* stop) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path.string()));
  Sha256 sha256;
  std::vector<char> piece(1 << 20);
  while (file) {
    if (stop != nullptr && stop->load()) {
      return absl::CancelledError(absl::StrCat("hashing ", path.string(), " stopped"));
    }
    file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    sha256.Add(std::string_view(piece.data(), static_cast<size_t>(file.gcount())));
  }
  if (file.bad()) return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", path.string()));
  return absl::BytesToHexString(sha256.Digest());
}

}  // namespace retort
