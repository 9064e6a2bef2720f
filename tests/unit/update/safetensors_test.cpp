// Model files: what we write, what we read back, what we refuse.
#include "trainer/update/safetensors.h"

#include <gtest/gtest.h>

#include "proto/base/bytes.h"
#include "proto/base/random.h"

namespace mh::update {
namespace {

std::vector<model::ParameterSpec> two_tensors() {
  model::ParameterSpec weight;
  weight.name = "0.weight";
  weight.shape = {2, 3};
  weight.count = 6;
  model::ParameterSpec bias;
  bias.name = "0.bias";
  bias.shape = {2};
  bias.offset = 6;
  bias.count = 2;
  return {weight, bias};
}

const float kValues[8] = {0, 1, 2, 3, 4, 5, 6, 7};

std::string with_header(const std::string& header, std::size_t data_bytes) {
  std::string file(8, '\0');
  store_le<std::uint64_t>(reinterpret_cast<std::byte*>(file.data()), header.size());
  return file + header + std::string(data_bytes, '\0');
}

std::string good_file() {
  return safetensors_head(two_tensors(), {{"format", "pt"}, {"job", "{\"a\":1}"}}) +
         std::string(reinterpret_cast<const char*>(kValues), sizeof kValues);
}

std::string refusal(const std::string& header, std::size_t data_bytes) {
  const std::string file = with_header(header, data_bytes);
  const auto view = view_safetensors(as_bytes(file));
  return view ? "" : view.error().message.substr(view.error().message.find(": ") + 2);
}

TEST(Safetensors, ReadsWhatItWrites) {
  const std::string file = good_file();
  const SafetensorsView view = view_safetensors(as_bytes(file)).value();
  EXPECT_EQ(view.parameters, two_tensors());
  EXPECT_EQ(view.metadata.at("format"), "pt");
  EXPECT_EQ(view.metadata.at("job"), "{\"a\":1}");
  EXPECT_EQ(as_text(view.values), file.substr(file.size() - sizeof kValues));
}

TEST(Safetensors, WritesTheFormatOfTheSpecification) {
  const std::string head = safetensors_head(two_tensors(), {});
  EXPECT_EQ(head.size() % 8, 0U);
  EXPECT_EQ(load_le<std::uint64_t>(as_bytes(head).data()), head.size() - 8);
  EXPECT_EQ(head.substr(8, head.find_last_of('}') - 7),
            "{\"0.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
            "\"0.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[24,32]}}");
}

TEST(Safetensors, RefusesLengthsBeyondTheFile) {
  std::string file = good_file();
  store_le<std::uint64_t>(reinterpret_cast<std::byte*>(file.data()), UINT64_MAX);
  EXPECT_FALSE(view_safetensors(as_bytes(file)));
  EXPECT_FALSE(view_safetensors(as_bytes("1234567")));
  for (std::size_t length = 0; length < good_file().size(); ++length) {
    EXPECT_FALSE(view_safetensors(as_bytes(good_file().substr(0, length)))) << length;
  }
  EXPECT_FALSE(view_safetensors(as_bytes(good_file() + "x")));
}

TEST(Safetensors, RefusesHolesOverlapsAndWrongSizes) {
  const auto tensor = [](const std::string& name, const std::string& shape,
                         const std::string& offsets) {
    return "\"" + name + R"(":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets +
           "}";
  };
  EXPECT_EQ(refusal("{" + tensor("a", "[2]", "[0,8]") + "}", 8), "");
  EXPECT_EQ(refusal("{" + tensor("a", "[]", "[0,4]") + "," + tensor("e", "[0]", "[0,0]") + "}", 4),
            "");
  EXPECT_EQ(
      refusal("{" + tensor("a", "[1]", "[0,4]") + "," + tensor("b", "[1]", "[8,12]") + "}", 12),
      "a hole or overlap before b");
  EXPECT_EQ(refusal("{" + tensor("a", "[2]", "[0,8]") + "," + tensor("b", "[1]", "[4,8]") + "}", 8),
            "a hole or overlap before b");
  EXPECT_EQ(refusal("{" + tensor("a", "[2]", "[0,4]") + "}", 4),
            "data_offsets of a do not fit its shape");
  EXPECT_EQ(refusal("{" + tensor("a", "[2]", "[8,0]") + "}", 8),
            "data_offsets of a do not fit its shape");
  EXPECT_EQ(refusal("{" + tensor("a", "[4294967296,4294967296]", "[0,0]") + "}", 0), "shape of a");
  EXPECT_EQ(refusal("{" + tensor("a", "[-1]", "[0,4]") + "}", 4), "shape of a");
  EXPECT_EQ(refusal("{" + tensor("a", "[1]", "[0,4]") + "," + tensor("a", "[1]", "[4,8]") + "}", 8),
            "key 'a' stands twice");
  EXPECT_EQ(refusal(R"({"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}})", 2),
            "dtype of a is F16, not F32");
  EXPECT_EQ(refusal(R"({"__metadata__":{"a":1}})", 0), "__metadata__.a");
  EXPECT_EQ(refusal("[]", 0), "the header is no JSON object");
  EXPECT_EQ(refusal(std::string(1'000, '['), 0), "JSON nested deeper than 3");
}

TEST(Safetensors, SurvivesMutations) {
  Philox4x32 random(3);
  const std::string file = good_file();
  for (int round = 0; round < 20'000; ++round) {
    std::string mutant = file;
    for (std::uint64_t i = random.below(4) + 1; i > 0; --i) {
      mutant[random.below(mutant.size())] = static_cast<char>(random.below(256));
    }
    const auto view = view_safetensors(as_bytes(mutant));
    if (!view) continue;
    std::uint64_t count = 0;
    for (const auto& tensor : view->parameters) count += tensor.count;
    ASSERT_EQ(view->values.size(), count * 4);
  }
}

}  // namespace
}  // namespace mh::update
