#include "core/config/teacher_shape.h"

#include "core/config/job_fixture.h"
#include "gmock/gmock.h"

namespace retort {
namespace {

class TeacherShape : public JobFixture {
 protected:
  absl::StatusOr<v1::ModelShape> Read(const std::string& config) {
    Put("models/tiny/config.json", config);
    return ReadTeacherShape(directory_ / "models/tiny");
  }
};

TEST_F(TeacherShape, IsWhatTheConfigSays) {
  const v1::ModelShape shape =
      Read(R"({"num_hidden_layers": 30, "hidden_size": 576, "intermediate_size": 1536,
      "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64, "vocab_size": 49152,
      "tie_word_embeddings": true})")
          .value();
  EXPECT_EQ(shape.ShortDebugString(),
            "layers: 30 hidden_size: 576 intermediate_size: 1536 query_heads: 9 kv_heads: 3 head_dim: 64 "
            "vocab_size: 49152 tied_head: true");
}

TEST_F(TeacherShape, DerivesWhatOlderConfigsLeaveOut) {
  const v1::ModelShape shape = Read(R"({"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128,
      "num_attention_heads": 4, "head_dim": null, "vocab_size": 512})")
                                   .value();
  EXPECT_EQ(shape.kv_heads(), 4u);
  EXPECT_EQ(shape.head_dim(), 16u);
  EXPECT_FALSE(shape.tied_head());
}

TEST_F(TeacherShape, KnowsPhisMlpAndHead) {
  const v1::ModelShape shape = Read(R"({"model_type": "phi", "num_hidden_layers": 2, "hidden_size": 64,
      "intermediate_size": 128, "num_attention_heads": 4, "vocab_size": 512})")
                                   .value();
  EXPECT_TRUE(shape.plain_mlp());
  EXPECT_TRUE(shape.biased_head());
}

TEST_F(TeacherShape, NamesTheKeyThatIsMissing) {
  const absl::Status status = Read(R"({"num_hidden_layers": 2})").status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(
      std::string(status.message()),
      testing::EndsWith("models/tiny/config.json: 'hidden_size' is missing; give a whole number from 1 "
                        "to 2147483648"));
}

TEST_F(TeacherShape, RefusesWhatIsNoCount) {
  EXPECT_THAT(std::string(Read(R"({"num_hidden_layers": -2})").status().message()),
              testing::HasSubstr("'num_hidden_layers' is -2, outside 1 to 2147483648"));
  EXPECT_TRUE(absl::IsInvalidArgument(Read("[]").status()));
}

}  // namespace
}  // namespace retort
