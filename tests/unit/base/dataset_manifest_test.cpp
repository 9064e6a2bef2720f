// The data set manifest: golden text of version 1, every refusal with its path, mutations.
#include "proto/base/dataset_manifest.h"

#include <gtest/gtest.h>

#include "proto/base/file.h"
#include "proto/base/random.h"

namespace mh {
namespace {

std::string golden() {
  return read_file(std::string(MH_SOURCE_DIR) + "/tests/golden/dataset_manifest_v1.json", 10'000)
      .value();
}

/// The golden text with its first `from` replaced, and what the parser says of it ("" if it is
/// taken).
std::string error_with(const std::string& from, const std::string& to) {
  std::string text = golden();
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  if (at == std::string::npos) return "?";
  const auto parsed = parse_manifest(text.replace(at, from.size(), to));
  return parsed ? "" : parsed.error().message;
}

TEST(DatasetManifest, WritesBackTheGoldenText) {
  const DatasetManifest manifest = parse_manifest(golden()).value();
  EXPECT_EQ(to_json(manifest), golden());
  EXPECT_EQ(manifest.class_names[1], "dög");
  EXPECT_EQ(manifest.input.bytes(), 4U);
  EXPECT_EQ(manifest.sample_bytes(), 5U);
  EXPECT_EQ(manifest.chunk_bytes(), 30U);
}

TEST(DatasetManifest, FindsTheChunkOfASample) {
  const DatasetManifest manifest = parse_manifest(golden()).value();
  const SplitInfo& train = *manifest.find_split("train");
  EXPECT_EQ(train.place_of(2).chunk, 0U);
  EXPECT_EQ(train.place_of(2).index, 2U);
  EXPECT_EQ(train.place_of(4).chunk, 1U);
  EXPECT_EQ(train.place_of(4).index, 1U);
  EXPECT_EQ(manifest.find_split("val"), nullptr);
}

TEST(DatasetManifest, ListsEachChunkOnceTrainFirst) {
  const DatasetManifest manifest = parse_manifest(golden()).value();
  EXPECT_EQ(manifest.chunk_digests(), (std::vector<Digest>{sha256("a"), sha256("b"), sha256("c")}));
}

TEST(DatasetManifest, NamesThePathOfWhatIsWrong) {
  EXPECT_EQ(error_with("\"shape\":[1,2,2]", "\"shape\":[1,2,0]"),
            "manifest: input.shape[2]: 0, must be at least 1");
  EXPECT_EQ(error_with("\"dtype\":\"u8\"", "\"dtype\":\"f64\""),
            "manifest: input.dtype: 'f64', allowed are u8, i32, i64, f32");
  EXPECT_EQ(error_with("\"count\":5", "\"count\":6"),
            "manifest: splits.train.chunks: they hold 5 samples, the split has 6");
  EXPECT_EQ(error_with("\"bytes\":10", "\"bytes\":11"),
            "manifest: splits.train.chunks[1].bytes: 11, 2 samples of 5 bytes are 10");
  EXPECT_EQ(error_with("\"class_counts\":[3,2]", "\"class_counts\":[3,3]"),
            "manifest: splits.train.class_counts: do not add up to the 5 targets");
  EXPECT_EQ(error_with("\"std\":[0.25]", "\"std\":[0]"),
            "manifest: normalization.std[0]: must be above 0");
  EXPECT_EQ(error_with("\"mean\":[0.5]", "\"mean\":[0.5,1]"),
            "manifest: normalization.mean: 2 values, the inputs have 1 channel");
  EXPECT_EQ(error_with("\"cat\"", "\"dög\""), "manifest: class_names[1]: 'dög' stands there twice");
}

TEST(DatasetManifest, RefusesUnknownMissingAndRepeatedKeys) {
  EXPECT_EQ(error_with("\"class_count\"", "\"class_cuont\""),
            "manifest: class_cuont: unknown key; allowed are format, input, target, class_count, "
            "class_names, normalization, splits");
  EXPECT_EQ(error_with(",\"class_names\":[\"cat\",\"dög\"]", ""),
            "manifest: class_names: is missing");
  EXPECT_EQ(error_with("{\"format\"", "{\"class_count\":2,\"format\""),
            "manifest: key 'class_count' stands twice");
  EXPECT_EQ(error_with("\"train\"", "\"trian\""), "manifest: splits.train: is missing");
  EXPECT_EQ(error_with("\"test\"", "\"dev\""),
            "manifest: splits.dev: unknown split; allowed are train, val, test");
  EXPECT_EQ(error_with("dataset/1", "dataset/2"),
            "manifest: format: must be 'manyhands-dataset/1': this is another kind of file");
}

TEST(DatasetManifest, RefusesWrongTypes) {
  EXPECT_EQ(error_with("\"count\":5", "\"count\":-5"),
            "manifest: splits.train.count: is number, must be a whole number from 0");
  EXPECT_EQ(error_with("\"count\":5", "\"count\":5.0"),
            "manifest: splits.train.count: is number, must be a whole number from 0");
  EXPECT_EQ(error_with("\"class_names\":[\"cat\"", "\"class_names\":[7"),
            "manifest: class_names: is number, must be a text");
  EXPECT_NE(error_with("\"digest\":\"", "\"digest\":\"AB"), "");
}

TEST(DatasetManifest, RefusesSizesThatWouldOverflow) {
  EXPECT_NE(error_with("[1,2,2]", "[4294967296,4294967296,4294967296]"), "");
  EXPECT_NE(error_with("[1,2,2]", "[18446744073709551615]"), "");
  EXPECT_NE(error_with("[1,2,2]", "[1,1,1,1,1,1,1,1,1]"), "");
  EXPECT_NE(error_with("\"count\":3", "\"count\":18446744073709551615"), "");
  EXPECT_NE(error_with("[3,2]", "[18446744073709551615,6]"), "");
  EXPECT_NE(error_with("\"class_count\":2", "\"class_count\":99999999999"), "");
  EXPECT_NE(error_with("\"mean\":[0.5]", "\"mean\":[1e400]"), "");
}

TEST(DatasetManifest, RefusesDeepNestingAndGarbage) {
  EXPECT_EQ(parse_manifest(std::string(1'000'000, '[')).error().message,
            "manifest: JSON nested deeper than 8");
  EXPECT_FALSE(parse_manifest(""));
  EXPECT_FALSE(parse_manifest("null"));
  EXPECT_FALSE(parse_manifest("[]"));
  EXPECT_FALSE(parse_manifest(golden() + "x"));
  EXPECT_FALSE(parse_manifest(std::string(kManifestBytesMax + 1, ' ')));
}

TEST(DatasetManifest, SurvivesMutationsAndTruncations) {
  const std::string text = golden();
  for (std::size_t length = 0; length < text.size(); ++length) {
    EXPECT_FALSE(parse_manifest(text.substr(0, length)));
  }
  Philox4x32 random(42);
  for (int round = 0; round < 20'000; ++round) {
    std::string mutant = text;
    for (std::uint64_t i = random.below(4) + 1; i > 0; --i) {
      mutant[random.below(mutant.size())] = static_cast<char>(random.below(256));
    }
    const auto parsed = parse_manifest(mutant);
    // What is taken is sound: it is written and read back as the same.
    if (parsed) {
      EXPECT_EQ(parse_manifest(to_json(*parsed)).value(), *parsed);
    }
  }
}

}  // namespace
}  // namespace mh
