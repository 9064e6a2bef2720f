// Import of data sets: formats, chunks, splits, statistics.
#include "client/cli/import/import.h"

#include <gtest/gtest.h>

#include <cmath>

#include "proto/base/bytes.h"
#include "proto/base/file.h"
#include "tests/unit/client/import_fixture.h"

namespace mh::cli {
namespace {

TEST_F(Import, MakesAManifestOfIdxFiles) {
  const ImportPlan plan = plan_import(files(kTwoImages, kTwoLabels)).value();
  const DatasetManifest& manifest = plan.manifest;
  EXPECT_EQ(manifest.input, (SampleTensor{DataType::kU8, {1, 2}}));
  EXPECT_EQ(manifest.target, (SampleTensor{DataType::kU8, {}}));
  EXPECT_EQ(manifest.class_count, 2U);
  EXPECT_DOUBLE_EQ(manifest.normalization.mean[0], 2.5);
  EXPECT_DOUBLE_EQ(manifest.normalization.std[0], std::sqrt(1.25));
  const SplitInfo& train = manifest.splits.at("train");
  EXPECT_EQ(train.class_counts, (std::vector<std::uint64_t>{1, 1}));
  ASSERT_EQ(train.chunks.size(), 1U);
  const std::string chunk = {1, 2, 3, 4, 1, 0};
  EXPECT_EQ(train.chunks[0].digest, sha256(chunk));
  EXPECT_EQ(plan.manifest_digest, sha256(plan.manifest_json));
  EXPECT_EQ(parse_manifest(plan.manifest_json).value(), manifest);
}

TEST_F(Import, TellsGzipByItsBytes) {
  const ImportPlan plain = plan_import(files(kTwoImages, kTwoLabels)).value();
  const ImportPlan packed = plan_import(files(gzip(kTwoImages), gzip(kTwoLabels))).value();
  EXPECT_EQ(packed.manifest_json, plain.manifest_json);
  // Two members in one file are one stream, as gzip -d has it.
  const std::string members = gzip(kTwoImages.substr(0, 9)) + gzip(kTwoImages.substr(9));
  EXPECT_EQ(plan_import(files(members, kTwoLabels)).value().manifest_json, plain.manifest_json);
}

TEST_F(Import, ReadsEveryTypeOfBothFormatsAlike) {
  const std::string labels = kTwoLabels;
  const std::string floats = raw<float>({1.5F, -2.0F});
  const std::string floats_big = big_endian(0x3FC00000) + big_endian(0xC0000000);
  const std::string expected =
      plan_import(files(npy("<f4", "(2,)", floats), labels)).value().manifest_json;
  EXPECT_EQ(plan_import(files(idx(13, {2}, floats_big), labels)).value().manifest_json, expected);
  EXPECT_EQ(plan_import(files(npy(">f4", "(2,)", floats_big), labels)).value().manifest_json,
            expected);
  EXPECT_EQ(plan_import(files(npy("<f4", "(2,)", floats, 2), labels)).value().manifest_json,
            expected);
  EXPECT_EQ(plan_import(files(npy("<f4", "(2,)", floats, 3), labels)).value().manifest_json,
            expected);
  EXPECT_EQ(plan_import(files(npy("<i8", "(2,)", raw<std::int64_t>({-5, 7})), labels))
                .value()
                .manifest.normalization.mean[0],
            1.0);
  EXPECT_EQ(plan_import(files(idx(12, {2}, big_endian(4) + big_endian(8)), labels))
                .value()
                .manifest.normalization.mean[0],
            6.0);
  EXPECT_EQ(
      plan_import(files(npy("|u1", "(2, 2)", {1, 2, 3, 4}), labels)).value().manifest.input.shape,
      std::vector<std::int64_t>{2});
}

TEST_F(Import, CutsChunksOfAtMost4096Samples) {
  const std::uint32_t count = 10'000;
  const std::string labels(count, '\1');
  const ImportPlan plan =
      plan_import(files(idx(8, {count, 2}, std::string(2 * count, 'x')), idx(8, {count}, labels)))
          .value();
  const SplitInfo& train = plan.manifest.splits.at("train");
  ASSERT_EQ(train.chunks.size(), 3U);
  EXPECT_EQ(train.chunks[0].count, 4'096U);
  EXPECT_EQ(train.chunks[2].count, 10'000U - 2 * 4'096);
  EXPECT_EQ(plan.manifest.normalization.std[0], 1.0) << "a constant channel";
}

TEST_F(Import, CutsChunksOfAtMost4MiB) {
  const std::uint32_t side = 1'024;  // One sample is 1 MiB and a label: three fit.
  const ImportPlan plan = plan_import(files(idx(8, {5, side, side}, std::string(5U << 20, 'x')),
                                            idx(8, {5}, std::string(5, '\0'))))
                              .value();
  const SplitInfo& train = plan.manifest.splits.at("train");
  ASSERT_EQ(train.chunks.size(), 2U);
  EXPECT_EQ(train.chunks[0].count, 3U);
}

TEST_F(Import, EmitsWhatThePlanPromises) {
  ImportOptions options = files(kTwoImages, kTwoLabels);
  options.files["test"] = {write("tx", kTwoImages), write("ty", idx(8, {2}, {1, 1}))};
  options.class_names = {"cat", "dog", "bird"};
  const ImportPlan plan = plan_import(options).value();
  EXPECT_EQ(plan.manifest.class_count, 3U);
  EXPECT_EQ(plan.manifest.splits.at("test").class_counts, (std::vector<std::uint64_t>{0, 2, 0}));
  MemorySink sink;
  ASSERT_TRUE(emit_chunks(plan, sink));
  EXPECT_EQ(sink.chunks.size(), plan.manifest.chunk_digests().size());
  for (const Digest& digest : plan.manifest.chunk_digests())
    EXPECT_TRUE(sink.chunks.contains(digest));
}

TEST_F(Import, SaysThatAFileChangedUnderneath) {
  const ImportPlan plan = plan_import(files(kTwoImages, kTwoLabels)).value();
  write("x", idx(8, {2, 1, 2}, {1, 2, 3, 5}));
  MemorySink sink;
  EXPECT_EQ(emit_chunks(plan, sink).error().code, Errc::kAborted);
  EXPECT_TRUE(sink.chunks.empty());
}

TEST_F(Import, PassesOnTheErrorOfTheSink) {
  class FullSink : public ChunkSink {
    Status put(const Digest&, std::span<const std::byte>) override {
      return fail(Errc::kResourceExhausted, "disk full");
    }
  } sink;
  const ImportPlan plan = plan_import(files(kTwoImages, kTwoLabels)).value();
  EXPECT_EQ(emit_chunks(plan, sink).error().message, "disk full");
}

TEST_F(Import, CutsSplitsThatKeepTheOrderOfTheFile) {
  const std::uint32_t count = 1'000;
  std::vector<std::int32_t> values(count);
  for (std::uint32_t i = 0; i < count; ++i) values[i] = static_cast<std::int32_t>(i);
  ImportOptions options =
      files(npy("<i4", "(1000,)", raw(values)), idx(8, {count}, std::string(count, '\0')));
  options.cuts = {{"val", 0.1}, {"test", 0.25}};
  const ImportPlan plan = plan_import(options).value();
  EXPECT_EQ(plan.manifest.splits.at("train").count, 650U);
  EXPECT_EQ(plan.manifest.splits.at("val").count, 100U);
  EXPECT_EQ(plan.manifest.splits.at("test").count, 250U);
  MemorySink sink;
  ASSERT_TRUE(emit_chunks(plan, sink));
  std::vector<int> seen(count);
  for (const auto& [name, split] : plan.manifest.splits) {
    std::int32_t before = -1;
    const std::string& chunk = sink.chunks.at(split.chunks.at(0).digest);
    for (std::uint64_t i = 0; i < split.count; ++i) {
      const auto value = load_le<std::int32_t>(as_bytes(chunk).data() + 4 * i);
      EXPECT_GT(value, before) << name;
      before = value;
      ++seen[static_cast<std::size_t>(value)];
    }
  }
  EXPECT_EQ(seen, std::vector<int>(count, 1)) << "every sample in exactly one split";
  EXPECT_EQ(plan_import(options).value().manifest_digest, plan.manifest_digest);
  options.seed = 1;
  EXPECT_NE(plan_import(options).value().manifest_digest, plan.manifest_digest);
}

TEST_F(Import, TakesStatisticsOfTheTrainSplitByChannel) {
  // Two samples of 2 channels with 1×2 numbers.
  const std::string inputs =
      npy("<f4", "(2, 2, 1, 2)", raw<float>({1, 2, 100, 200, 3, 4, 300, 400}));
  const Normalization found = plan_import(files(inputs, kTwoLabels)).value().manifest.normalization;
  ASSERT_EQ(found.mean.size(), 2U);
  EXPECT_DOUBLE_EQ(found.mean[0], 2.5);
  EXPECT_DOUBLE_EQ(found.mean[1], 250);
  EXPECT_NEAR(found.std[0], std::sqrt(1.25), 1e-12);
  EXPECT_NEAR(found.std[1], std::sqrt(12'500.0), 1e-9);
}

TEST_F(Import, MeasuresSmallSpreadAroundALargeMean) {
  std::vector<float> values(1'000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 1e6F + static_cast<float>(i % 2);
  const std::string labels = idx(8, {1'000}, std::string(1'000, '\0'));
  Normalization found =
      plan_import(files(npy("<f4", "(1000,)", raw(values)), labels)).value().manifest.normalization;
  EXPECT_NEAR(found.std[0], 0.5, 1e-9);
  found = plan_import(files(npy("<f4", "(1000,)", raw(std::vector<float>(1'000, 0.1F))), labels))
              .value()
              .manifest.normalization;
  EXPECT_EQ(found.std[0], 1.0);
}

TEST_F(Import, TakesFloatTargetsAsNumbers) {
  const ImportPlan plan =
      plan_import(files(kTwoImages, npy("<f4", "(2, 1)", raw<float>({0.5F, 1.5F})))).value();
  EXPECT_EQ(plan.manifest.class_count, 0U);
  EXPECT_TRUE(plan.manifest.splits.at("train").class_counts.empty());
  EXPECT_EQ(plan.manifest.target.shape, std::vector<std::int64_t>{1});
  ImportOptions named = files(kTwoImages, npy("<f4", "(2, 1)", raw<float>({0.5F, 1.5F})));
  named.class_names = {"a"};
  EXPECT_EQ(refusal(named), "class names are given, but the targets are numbers, not classes");
}

TEST_F(Import, TakesWholeNumbersAsNumbersWhenAsked) {
  ImportOptions options = files(kTwoImages, npy("<i4", "(2,)", raw<std::int32_t>({-4, 70})));
  EXPECT_EQ(refusal(options),
            "x, y: sample 0: target is -4, classes are numbered 0 to 999999; give "
            "--targets-are-numbers if the targets are no classes");
  options.targets_are_numbers = true;
  EXPECT_EQ(plan_import(options).value().manifest.class_count, 0U);
}

TEST_F(Import, TakesAColumnOfClassNumbersAsAList) {
  const std::string column = npy("<i8", "(2, 1)", raw<std::int64_t>({1, 0}));
  EXPECT_TRUE(plan_import(files(kTwoImages, column)).value().manifest.target.shape.empty());
}

TEST_F(Import, WritesAFolderThatCanBeWrittenAgain) {
  const ImportOptions options = files(kTwoImages, kTwoLabels);
  const fs::path folder = folder_ / "a" / "b";
  const ImportPlan plan = import_to_directory(options, folder).value();
  EXPECT_EQ(read_file(folder / "manifest.json", 10'000).value(), plan.manifest_json);
  const fs::path chunk = folder / plan.manifest.chunk_digests()[0].hex();
  EXPECT_EQ(sha256(read_file(chunk, 100).value()).hex(), chunk.filename());
  // A chunk that was cut short is written anew.
  fs::resize_file(chunk, 1);
  ASSERT_TRUE(import_to_directory(options, folder));
  EXPECT_EQ(fs::file_size(chunk), 6U);
  write("file", "x");
  EXPECT_FALSE(import_to_directory(options, folder_ / "file"));
}

TEST(ImportOptions, ReadsCutsAndNames) {
  const SplitCut cut = parse_split_cut("val=0.125").value();
  EXPECT_EQ(cut.split, "val");
  EXPECT_EQ(cut.fraction, 0.125);
  for (const char* bad : {"", "val", "val=", "val=x", "val=0.1x", "val=0", "val=1", "val=nan",
                          "val=-1", "train=0.5", "dev=0.1", "=0.1"}) {
    EXPECT_FALSE(parse_split_cut(bad)) << bad;
  }
  EXPECT_EQ(parse_class_names("cat, wild dog ,bird").value(),
            (std::vector<std::string>{"cat", "wild dog", "bird"}));
  EXPECT_FALSE(parse_class_names(""));
  EXPECT_FALSE(parse_class_names("a,,b"));
}

}  // namespace
}  // namespace mh::cli
