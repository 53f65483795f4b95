// Propagation of absl::Status and absl::StatusOr, for the errors of the world (docs/HACKING.md, "Errors").
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define RETORT_CONCAT_INNER(a, b) a##b
#define RETORT_CONCAT(a, b) RETORT_CONCAT_INNER(a, b)

// Returns from the enclosing function when `expr` is not OK.
#define RETURN_IF_ERROR(expr)                             \
  do {                                                    \
    if (absl::Status status__ = (expr); !status__.ok()) { \
      return status__;                                    \
    }                                                     \
  } while (false)

// ASSIGN_OR_RETURN(auto x, Compute()): declares or assigns x, or returns the error.
#define ASSIGN_OR_RETURN(lhs, expr) ASSIGN_OR_RETURN_INNER(RETORT_CONCAT(result__, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_INNER(result, lhs, expr) \
  auto result = (expr);                           \
  if (!result.ok()) {                             \
    return std::move(result).status();            \
  }                                               \
  lhs = *std::move(result)
