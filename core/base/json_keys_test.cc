#include "core/base/json_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace retort {
namespace {

using nlohmann::json;

TEST(JsonFields, TakeWhatIsAbsentOrNullForTheFallback) {
  const json object = {{"a", nullptr}, {"b", true}, {"c", "x"}};
  EXPECT_EQ(BoolField(object, "a", true).value(), true);
  EXPECT_EQ(BoolField(object, "b", false).value(), true);
  EXPECT_EQ(StringField(object, "c", "y").value(), "x");
  EXPECT_EQ(StringField(object, "d", "y").value(), "y");
  EXPECT_TRUE(Field(json::array({1}), "a").is_null());
}

TEST(JsonFields, NameKeyAndValueThatDoNotFit) {
  const json object = {{"a", 1}, {"b", {1, 2}}};
  EXPECT_EQ(BoolField(object, "a", true).status(), absl::InvalidArgumentError("'a' is 1, not true or false"));
  EXPECT_EQ(StringField(object, "b", "").status(), absl::InvalidArgumentError("'b' is [1,2], not a string"));
  EXPECT_EQ(CheckMembers("x", object, {"a", "c"}),
            absl::UnimplementedError("'x' has a member 'b' of value [1,2]; supported: a, c"));
  EXPECT_EQ(CheckMembers("x", object, {"a", "b"}), absl::OkStatus());
}

TEST(JsonKeys, RememberTheFirstThingThatIsWrong) {
  const json object = {{"size", 0}, {"flag", 1}, {"in", {{"share", -1}}}};
  JsonKeys keys(object, "a.json");
  EXPECT_EQ(keys.SizeOr("absent", 7), 7);
  keys.Require("absent", 1);
  EXPECT_EQ(keys.status(), absl::OkStatus());
  std::optional<JsonKeys> inner = keys.Inner("in");
  EXPECT_EQ(inner->PositiveOr("share", 0.5), 0.5);
  keys.TakeStatus(*inner);
  EXPECT_EQ(keys.BoolOr("flag", true), true);
  keys.Size("size");
  EXPECT_EQ(keys.status(), absl::InvalidArgumentError("a.json: 'in': 'share' is -1, not a positive number"));
}

TEST(JsonKeys, SayWhatASizeMayBe) {
  const json object = {{"zero", 0}, {"half", 0.5}, {"large", uint64_t{1} << 63}};
  const auto complaint = [&object](const char* key) {
    JsonKeys keys(object, "a.json");
    keys.Size(key);
    return std::string(keys.status().message());
  };
  EXPECT_EQ(complaint("absent"), "a.json: 'absent' is missing; give a whole number from 1 to 2147483648");
  EXPECT_EQ(complaint("zero"), "a.json: 'zero' is 0, outside 1 to 2147483648");
  EXPECT_EQ(complaint("half"), "a.json: 'half' is 0.5, not an integer");
  EXPECT_EQ(complaint("large"), "a.json: 'large' is 9223372036854775808, outside 1 to 2147483648");
}

}  // namespace
}  // namespace retort
