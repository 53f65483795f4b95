#include "cli/report/matrix_image.h"

#include <cmath>
#include <cstdint>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "cli/report/colours.h"
#include "core/base/check.h"

namespace retort {
namespace {

constexpr Rgb kAbove = {226, 226, 226};
constexpr Rgb kNotFinite = {0, 0, 0};

void Append(std::string& bytes, uint32_t number, int width) {
  for (int i = 0; i < width; ++i) bytes += static_cast<char>(number >> (8 * i));
}

// Of a picture of n x n pixels, 24 bits each, rows padded to four bytes (BITMAPINFOHEADER).
std::string Header(uint32_t n, uint32_t row_bytes) {
  constexpr uint32_t kHeaderBytes = 14 + 40;
  std::string header = "BM";
  Append(header, kHeaderBytes + n * row_bytes, 4);
  Append(header, 0, 4);
  Append(header, kHeaderBytes, 4);
  Append(header, 40, 4);
  Append(header, n, 4);
  Append(header, n, 4);
  Append(header, 1, 2);
  Append(header, 24, 2);
  for (const uint32_t zero_or_size : {0u, n * row_bytes, 0u, 0u, 0u, 0u}) Append(header, zero_or_size, 4);
  return header;
}

Rgb PixelColour(double value, double largest) {
  if (!std::isfinite(value)) return kNotFinite;
  const double strength = std::sqrt(std::fabs(value) / largest);
  return Diverging(std::copysign(strength, value));
}

}  // namespace

std::string MatrixImageUrl(const std::vector<double>& lower, double largest) {
  size_t n = 0;
  while (n * (n + 1) / 2 < lower.size()) ++n;
  RETORT_CHECK(n > 0 && n * (n + 1) / 2 == lower.size() && largest > 0) << lower.size();
  const size_t row_bytes = (3 * n + 3) / 4 * 4;
  std::string bytes = Header(static_cast<uint32_t>(n), static_cast<uint32_t>(row_bytes));
  for (size_t row = n; row-- > 0;) {  // from the bottom
    std::string line;
    for (size_t column = 0; column < n; ++column) {
      const Rgb colour = column > row ? kAbove : PixelColour(lower[row * (row + 1) / 2 + column], largest);
      for (const uint8_t channel : {colour.blue, colour.green, colour.red}) {
        line += static_cast<char>(channel);
      }
    }
    line.resize(row_bytes, '\0');
    bytes += line;
  }
  return absl::StrCat("data:image/bmp;base64,", absl::Base64Escape(bytes));
}

}  // namespace retort
