#include "core/base/json_text.h"

#include <cstddef>
#include <string>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/plain_text.h"

namespace retort {
namespace {

constexpr size_t kDeepest = 64;

// Looks at the text alone and keeps the first thing that is wrong with it.
class StrictReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  const std::string& error() const { return error_; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return Open(); }
  bool start_array(std::size_t) override { return Open(); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(string_t& name) override {
    if (open_.back().insert(name).second) return true;
    error_ = absl::StrCat("member '", Shown(name), "' stands twice in one object; remove one of them");
    return false;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception& error) override {
    error_ = absl::StrCat("not JSON: ", JsonComplaint(error));
    return false;
  }

 private:
  bool Open() {
    open_.emplace_back();
    if (open_.size() <= kDeepest) return true;
    error_ = absl::StrCat("values lie more than ", kDeepest, " deep in each other");
    return false;
  }
  bool Close() {
    open_.pop_back();
    return true;
  }

  std::vector<std::unordered_set<std::string>> open_;  // the members seen, of each value that is not closed
  std::string error_;
};

}  // namespace

absl::StatusOr<nlohmann::json> ParseJson(std::string_view text) {
  StrictReader reader;
  if (!nlohmann::json::sax_parse(text, &reader)) return absl::InvalidArgumentError(reader.error());
  return nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
}

std::string JsonComplaint(const nlohmann::json::exception& error) {
  std::string_view what = error.what();  // "[json.exception.parse_error.101] parse error at line 1, ..."
  const size_t end = what.find("] ");
  if (what.starts_with("[json.exception.") && end != std::string_view::npos) what.remove_prefix(end + 2);
  constexpr size_t kLongest = 240;  // it ends in the whole token that was read last
  return Shown(what, kLongest);
}

std::string Brief(const nlohmann::json& value) {
  return Shown(value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
}

}  // namespace retort
