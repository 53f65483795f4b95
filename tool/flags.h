// Flags that several verbs of retort-model share.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace retort {

// -o, --output text|json into `format`, which keeps its value when the flag is absent.
inline void AddOutputFlag(CLI::App& app, std::string& format) {
  app.add_option("-o,--output", format, "text (tables) or json (one object)")

      ->type_name("FORMAT")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
}

// For CLI11's check: empty when `text` may be a seed, else what is wrong with it.
inline std::string IsSeed(const std::string& text) {
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  return digits && text.size() <= 20 ? "" : "'" + text + "' is no whole number from 0 to 2^64 - 1";
}

// --threads into `threads`.
inline void AddThreadsFlag(CLI::App& app, int& threads) {
  app.add_option("--threads", threads, "Compute threads (default: all cores)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
}

}  // namespace retort
