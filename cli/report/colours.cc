#include "cli/report/colours.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_format.h"

namespace retort {
namespace {

template <size_t kCount>
Rgb Between(const std::array<Rgb, kCount>& anchors, double share) {
  const double place = std::isnan(share) ? 0.0 : std::clamp(share, 0.0, 1.0) * (kCount - 1);
  const size_t below = std::min(static_cast<size_t>(place), kCount - 2);
  const double part = place - static_cast<double>(below);
  const auto mix = [&](uint8_t from, uint8_t to) {
    return static_cast<uint8_t>(std::lround(from + part * (to - from)));
  };
  const Rgb &from = anchors[below], &to = anchors[below + 1];
  return {mix(from.red, to.red), mix(from.green, to.green), mix(from.blue, to.blue)};
}

}  // namespace

Rgb Sequential(double share) {
  constexpr std::array<Rgb, 9> kViridis = {{{68, 1, 84},
                                            {71, 45, 123},
                                            {59, 82, 139},
                                            {44, 114, 142},
                                            {33, 145, 140},
                                            {40, 174, 128},
                                            {94, 201, 98},
                                            {173, 220, 48},
                                            {253, 231, 37}}};
  return Between(kViridis, share);
}

Rgb Diverging(double share) {
  constexpr std::array<Rgb, 5> kBlueToOrange = {
      {{33, 78, 150}, {120, 166, 214}, {255, 255, 255}, {240, 160, 90}, {170, 70, 10}}};
  return Between(kBlueToOrange, (share + 1) / 2);
}

std::string Hex(Rgb colour) {
  return absl::StrFormat("#%02x%02x%02x", colour.red, colour.green, colour.blue);
}

bool IsLight(Rgb colour) { return 0.299 * colour.red + 0.587 * colour.green + 0.114 * colour.blue > 140; }

}  // namespace retort
