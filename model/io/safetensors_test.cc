#include "model/io/safetensors.h"

#include <ATen/ATen.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

// A path of this test's own in the temporary directory; the file is removed with the object.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& bytes = "")
      : path_(testing::TempDir() + "/safetensors_test_" +
              testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::ofstream(path_, std::ios::binary) << bytes;
  }
  ~TemporaryFile() { std::filesystem::remove(path_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::string Bytes() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  std::filesystem::path path_;
};

// The bytes of a file with this header and `data_bytes` zeros behind it.
std::string FileBytes(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes + header + std::string(data_bytes, '\0');
}

absl::Status OpenBytes(const std::string& bytes) {
  const TemporaryFile file(bytes);
  return SafetensorsFile::Open(file.path()).status();
}

void ExpectSame(const SafetensorsFile& file, const std::string& name, const at::Tensor& expected) {
  const auto tensor = file.Read(name);
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->scalar_type(), expected.scalar_type()) << name;
  EXPECT_EQ(tensor->sizes(), expected.sizes()) << name;
  EXPECT_TRUE(at::equal(*tensor, expected)) << name;
}

TEST(Safetensors, ReadsBackWhatItWrote) {
  const TemporaryFile file;
  const at::Tensor weight = at::arange(6, at::kFloat).view({2, 3}) / 7;
  const at::Tensor steps = at::arange(4, at::kLong) - (int64_t{1} << 40);
  const at::Tensor state = at::arange(5, at::kByte) + 250;
  const NamedTensors tensors = {{"weight", weight},
                                {"steps", steps},
                                {"state", state},
                                {"scalar", at::full({}, 2.5, at::kFloat)},
                                {"empty", at::empty({0, 3}, at::kFloat)},
                                {"halves", weight.to(at::kHalf)},
                                {"brains", weight.to(at::kBFloat16)}};
  ASSERT_TRUE(WriteSafetensors(file.path(), tensors, {{"format", "pt"}, {"note", "a \"quoted\" word"}}).ok());

  const auto read = SafetensorsFile::Open(file.path());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_THAT(read->names(), ElementsAre("brains", "empty", "halves", "scalar", "state", "steps", "weight"));
  EXPECT_THAT(file.Bytes(), HasSubstr(R"("__metadata__":{"format":"pt","note":"a \"quoted\" word"})"));
  for (const auto& [name, tensor] : tensors) ExpectSame(*read, name, tensor);
}

TEST(Safetensors, WritesTransposedTensorsInRowOrder) {
  const TemporaryFile file;
  const at::Tensor turned = at::arange(6, at::kFloat).view({2, 3}).t();
  ASSERT_TRUE(WriteSafetensors(file.path(), {{"turned", turned}}, {}).ok());
  const auto read = SafetensorsFile::Open(file.path());
  ASSERT_TRUE(read.ok()) << read.status();
  ExpectSame(*read, "turned", turned);
}

TEST(Safetensors, AlignsTheDataToEightBytes) {
  for (const char* name : {"a", "ab", "abc", "abcd"}) {
    const TemporaryFile file;
    ASSERT_TRUE(WriteSafetensors(file.path(), {{name, at::zeros({1})}}, {}).ok());
    EXPECT_EQ((file.Bytes().size() - sizeof(float)) % 8, 0u) << name;
  }
}

TEST(Safetensors, ReadsTheBytesOfAnotherWriter) {
  std::string bytes = FileBytes(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
  const float values[] = {1.5f, -2.0f};
  std::memcpy(bytes.data() + bytes.size() - 8, values, 8);
  const TemporaryFile file(bytes);
  const auto read = SafetensorsFile::Open(file.path());
  ASSERT_TRUE(read.ok()) << read.status();
  ExpectSame(*read, "x", at::tensor({1.5f, -2.0f}));
}

TEST(Safetensors, ReadsTensorsInAnyOrderOfTheirBytes) {
  const std::string header = R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[2,5]},)"
                             R"("b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                             R"("none":{"dtype":"F32","shape":[0],"data_offsets":[2,2]}})";
  EXPECT_TRUE(OpenBytes(FileBytes(header, 5)).ok());
}

TEST(Safetensors, HandsOutTensorsOfTheirOwn) {
  const TemporaryFile file;
  ASSERT_TRUE(WriteSafetensors(file.path(), {{"x", at::ones({2})}}, {}).ok());
  const auto read = SafetensorsFile::Open(file.path());
  ASSERT_TRUE(read.ok()) << read.status();
  read->Read("x")->zero_();
  ExpectSame(*read, "x", at::ones({2}));
}

TEST(Safetensors, NamesAMissingTensor) {
  const TemporaryFile file;
  ASSERT_TRUE(WriteSafetensors(file.path(), {{"x", at::ones({2})}}, {}).ok());
  const auto tensor = SafetensorsFile::Open(file.path())->Read("y");
  EXPECT_EQ(tensor.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(tensor.status().message()), HasSubstr("no tensor y"));
}

TEST(Safetensors, ReportsAMissingFile) {
  EXPECT_EQ(SafetensorsFile::Open(testing::TempDir() + "/no/such.safetensors").status().code(),
            absl::StatusCode::kNotFound);
}

TEST(Safetensors, RefusesAFileCutAnywhere) {
  std::string bytes;
  {
    const TemporaryFile whole;
    ASSERT_TRUE(WriteSafetensors(whole.path(), {{"a", at::ones({4})}, {"b", at::ones({2})}}, {}).ok());
    bytes = whole.Bytes();
  }
  ASSERT_TRUE(OpenBytes(bytes).ok());
  for (size_t length = 0; length < bytes.size(); ++length) {
    const absl::Status status = OpenBytes(bytes.substr(0, length));
    ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << "cut to " << length << " bytes: " << status;
  }
}

struct Refusal {
  const char* what;
  std::string bytes;
  const char* message;
};

void ExpectRefused(const Refusal& refusal) {
  const absl::Status status = OpenBytes(refusal.bytes);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << refusal.what << ": " << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(refusal.message)) << refusal.what;
  EXPECT_THAT(std::string(status.message()), EndsWith("; fetch or write it again")) << refusal.what;
}

TEST(Safetensors, RefusesBrokenHeaders) {
  const auto one = [](const std::string& description) { return FileBytes("{\"x\":" + description + "}", 8); };
  const auto pair = [](const std::string& a, const std::string& b) {
    return FileBytes(R"({"a":{"dtype":"U8","shape":)" + a + R"(},"b":{"dtype":"U8","shape":)" + b + "}}", 8);
  };
  std::string endless = FileBytes("{}", 0);
  endless.replace(0, 8, std::string(8, '\xff'));
  std::string longer = FileBytes("{}", 0);
  longer[0] = 3;
  std::string many_sizes;
  for (int i = 0; i < 64; ++i) many_sizes += ",1";
  const Refusal refusals[] = {
      {"nothing", "", "only 0 bytes"},
      {"half a length", "\x02\x03", "only 2 bytes"},
      {"a length beyond any file", endless, "header of 18446744073709551615 bytes"},
      {"no JSON", FileBytes("{x}", 0), "in its header not JSON"},
      {"invalid UTF-8", FileBytes("{\"\xff\":1}", 0), "in its header not JSON"},
      {"nothing but depth", FileBytes(std::string(100'000, '['), 0), "more than 64 deep"},
      {"a header longer than the file", longer, "header of 3 bytes in a file of 10"},
      {"more sizes than a tensor has",
       one(R"({"dtype":"U8","data_offsets":[0,1],"shape":[1)" + many_sizes + "]}"), "tensor x lacks"},
      {"an array", FileBytes("[]", 0), "not a JSON object"},
      {"metadata as text", FileBytes(R"({"__metadata__":"pt"})", 0), "__metadata__ is not a JSON object"},
      {"metadata as a list", FileBytes(R"({"__metadata__":["pt"]})", 0), "__metadata__ is not a JSON object"},
      {"metadata holding a number", FileBytes(R"({"__metadata__":{"step":1}})", 0), "step is not a string"},
      {"a number for a tensor", one("7"), "tensor x lacks"},
      {"null for a tensor", one("null"), "tensor x lacks"},
      {"no dtype", one(R"({"shape":[2],"data_offsets":[0,8]})"), "tensor x lacks"},
      {"a numeric dtype", one(R"({"dtype":32,"shape":[2],"data_offsets":[0,8]})"), "tensor x lacks"},
      {"no shape", one(R"({"dtype":"F32","data_offsets":[0,8]})"), "tensor x lacks"},
      {"a fractional size", one(R"({"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})"), "tensor x lacks"},
      {"a negative size", one(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})"), "tensor x lacks"},
      {"a size above int64", one(R"({"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]})"),
       "tensor x lacks"},
      {"no offsets", one(R"({"dtype":"F32","shape":[2]})"), "tensor x lacks"},
      {"one offset", one(R"({"dtype":"F32","shape":[2],"data_offsets":[0]})"), "tensor x lacks"},
      {"three offsets", one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8,8]})"), "tensor x lacks"},
      {"a negative offset", one(R"({"dtype":"F32","shape":[2],"data_offsets":[-8,0]})"), "tensor x lacks"},
      {"offsets reversed", one(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})"),
       "tensor x lies outside"},
      {"an end outside", one(R"({"dtype":"F32","shape":[2],"data_offsets":[1,9]})"), "tensor x lies outside"},
      {"a begin far outside", one(R"({"dtype":"F32","shape":[0],"data_offsets":[99,99]})"), "lies outside"},
      {"too few bytes", one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,7]})"), "not its shape's size"},
      {"too many bytes", one(R"({"dtype":"F16","shape":[2],"data_offsets":[0,8]})"), "not its shape's size"},
      {"a product that wraps to 2",
       one(R"({"dtype":"F32","shape":[9223372036854775807,2],"data_offsets":[0,8]})"),
       "not its shape's size"},
      {"bytes that wrap to 8", one(R"({"dtype":"F32","shape":[4611686018427387906],"data_offsets":[0,8]})"),
       "not its shape's size"},
      {"an empty tensor whose sizes overflow",
       one(R"({"dtype":"F32","shape":[0,4611686018427387904,4],"data_offsets":[0,0]})"),
       "not its shape's size"},
      {"the same bytes twice", pair(R"([4],"data_offsets":[0,4])", R"([4],"data_offsets":[0,4])"), "a and b"},
      {"one tensor inside another", pair(R"([2],"data_offsets":[4,6])", R"([8],"data_offsets":[0,8])"),
       "tensors b and a overlap"},
      {"one shared byte", pair(R"([5],"data_offsets":[0,5])", R"([4],"data_offsets":[4,8])"),
       "a and b overlap"},
  };
  for (const Refusal& refusal : refusals) ExpectRefused(refusal);
}

TEST(Safetensors, RefusesBytesThatNoTensorOwns) {
  const Refusal refusals[] = {
      {"bytes before the first tensor",
       FileBytes(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8),
       "the 4 bytes before tensor x are no tensor's"},
      {"bytes between two",
       FileBytes(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                 R"("b":{"dtype":"U8","shape":[3],"data_offsets":[5,8]}})",
                 8),
       "the 2 bytes before tensor b are no tensor's"},
      {"bytes behind the last", FileBytes(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 8),
       "the last 4 bytes are no tensor's"},
      {"bytes without a tensor", FileBytes("{}", 3), "the last 3 bytes are no tensor's"},
  };
  for (const Refusal& refusal : refusals) ExpectRefused(refusal);
}

TEST(Safetensors, RefusesHeadersThatSayThingsTwice) {
  const std::string description = R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  const std::string tensor_twice = FileBytes("{\"x\":" + description + ",\"x\":" + description + "}", 4);
  EXPECT_THAT(std::string(OpenBytes(tensor_twice).message()), HasSubstr("member 'x' stands twice"));
  const std::string type_twice =
      FileBytes(R"({"x":{"dtype":"U8","dtype":"F32","shape":[4],"data_offsets":[0,4]}})", 4);
  EXPECT_EQ(OpenBytes(type_twice).code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(OpenBytes(type_twice).message()), HasSubstr("member 'dtype' stands twice"));
}

TEST(Safetensors, ShowsForeignNamesPlainAndBriefly) {
  const std::string name = "\\u001b[2J" + std::string(1'000'000, 'n');
  const absl::Status status = OpenBytes(FileBytes("{\"" + name + "\":{}}", 0));
  EXPECT_LT(status.message().size(), 500u);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tensor ?[2Jnnn"));
}

TEST(Safetensors, NamesATypeThatItDoesNotRead) {
  const absl::Status status =
      OpenBytes(FileBytes(R"({"x":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}})", 8));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("tensor x has type F8_E4M3; supported: F32, F16, BF16"));
}

}  // namespace
}  // namespace retort
