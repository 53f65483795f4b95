// Colours for numbers. Pure.
#pragma once

#include <cstdint>
#include <string>

namespace retort {

struct Rgb {
  uint8_t red, green, blue;
  bool operator==(const Rgb&) const = default;
};

// Viridis: dark violet at 0, yellow at 1, of even steps in lightness, also for readers who see no red or
// green. Anchors of the published map at eighths, linear between. Outside 0..1 the nearer end; NaN as 0.
Rgb Sequential(double share);

// White at 0, blue at -1, orange at 1; of even lightness on both sides.
Rgb Diverging(double share);

// Teal at 0 over blue to violet at 1, for lines: each stands out from white and from black paper by 3 : 1.
Rgb OfOneLightness(double share);

// Relative luminance (WCAG 2.2): 0 for black, 1 for white.
double Luminance(Rgb colour);

// "#rrggbb".
std::string Hex(Rgb colour);

// Whether black rather than white is read on it.
bool IsLight(Rgb colour);

}  // namespace retort
