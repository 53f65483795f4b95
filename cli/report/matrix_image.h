// A causal matrix as a small picture. Pure.
#pragma once

#include <string>
#include <vector>

namespace retort {

// `lower`: rows 0 .. n-1 below and with the diagonal, row i with i + 1 numbers, so n (n + 1) / 2 of them. One
// pixel a number: positive orange, negative blue, strength as the square root of its share of `largest` (over
// 0), so that small weights are seen too; what is above the diagonal is grey,
// what is not finite black. The picture is a BMP in a data
// URL, to be scaled up with `image-rendering: pixelated`.
std::string MatrixImageUrl(const std::vector<double>& lower, double largest);

}  // namespace retort
