#include "cli/show/json_shape.h"

#include "gtest/gtest.h"

namespace retort {
namespace {

using nlohmann::json;

constexpr JsonPlace kPlaces[] = {
    {"name", JsonShape::kText},           {"note", JsonShape::kText, /*optional=*/true},
    {"rows", JsonShape::kList},           {"rows/*", JsonShape::kObject},
    {"rows/*/tokens", JsonShape::kCount}, {"rows/*/loss", JsonShape::kNumberOrNull},
};

absl::Status Check(const char* text) { return CheckJsonShape("a.json", json::parse(text), kPlaces); }

absl::Status Refusal(const std::string& complaint) {
  return absl::DataLossError("a.json: " + complaint +
                             "; it is not what this version leaves: fetch the run again");
}

TEST(CheckJsonShape, TakesWhatHasEveryPlace) {
  EXPECT_EQ(Check(R"({"name": "x", "rows": [], "more": 1})"), absl::OkStatus());
  EXPECT_EQ(
      Check(
          R"({"name": "x", "note": "y", "rows": [{"tokens": 3, "loss": null}, {"tokens": 0, "loss": 1.5}]})"),
      absl::OkStatus());
}

TEST(CheckJsonShape, NamesThePlaceAndWhatItHolds) {
  EXPECT_EQ(Check("[]"), Refusal("\"name\" is missing"));
  EXPECT_EQ(Check(R"({"name": 5, "rows": []})"), Refusal("\"name\" is 5, not a text"));
  EXPECT_EQ(Check(R"({"name": "x", "note": null, "rows": []})"), Refusal("\"note\" is null, not a text"));
  EXPECT_EQ(Check(R"({"name": "x", "rows": {}})"), Refusal("\"rows\" is {}, not a list"));
  EXPECT_EQ(Check(R"({"name": "x", "rows": [{"tokens": 1, "loss": 1}, {"loss": 1}]})"),
            Refusal("\"rows/1/tokens\" is missing"));
  for (const char* tokens : {"-1", "1.5", "1e300", "18446744073709551615"}) {
    EXPECT_TRUE(absl::IsDataLoss(
        Check((std::string(R"({"name": "x", "rows": [{"loss": 1, "tokens": )") + tokens + "}]}").c_str())))
        << tokens;
  }
}

TEST(CheckJsonShape, ShortensWhatItShows) {
  const std::string text = "{\"name\": [\"" + std::string(1000, 'a') + "\"], \"rows\": []}";
  EXPECT_EQ(Check(text.c_str()), Refusal("\"name\" is [\"" + std::string(155, 'a') + "..., not a text"));
}

}  // namespace
}  // namespace retort
