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

Rgb OfOneLightness(double share) {
  constexpr std::array<Rgb, 3> kTealToViolet = {{{15, 138, 126}, {58, 122, 200}, {160, 79, 208}}};
  return Between(kTealToViolet, share);
}

double Luminance(Rgb colour) {
  const auto linear = [](uint8_t part) {
    const double share = part / 255.0;
    return share <= 0.04045 ? share / 12.92 : std::pow((share + 0.055) / 1.055, 2.4);
  };
  return 0.2126 * linear(colour.red) + 0.7152 * linear(colour.green) + 0.0722 * linear(colour.blue);
}

std::string Hex(Rgb colour) {
  return absl::StrFormat("#%02x%02x%02x", colour.red, colour.green, colour.blue);
}

// Where (luminance + 0.05) / (black's + 0.05) and (white's + 0.05) / (luminance + 0.05) are the same.
bool IsLight(Rgb colour) { return Luminance(colour) > 0.179; }

}  // namespace retort
