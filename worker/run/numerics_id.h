// Which code made a run's numbers. Defined by cmake/numerics_id.cmake.
#pragma once

namespace retort {

// Twelve hexadecimal digits, another value whenever a source or build setting changes that could change a
// number.
const char* NumericsId();

}  // namespace retort
