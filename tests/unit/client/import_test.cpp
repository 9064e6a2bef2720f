// Import of data sets: formats, splits, statistics, and every refusal a user can run into.
#include "client/cli/import/import.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <zlib.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "client/cli/import/array_file.h"
#include "proto/base/bytes.h"
#include "proto/base/file.h"
#include "proto/base/random.h"

namespace mh::cli {
namespace {

namespace fs = std::filesystem;

std::string big_endian(std::uint32_t number) {
  const std::uint32_t swapped = __builtin_bswap32(number);
  return {reinterpret_cast<const char*>(&swapped), 4};
}

/// An IDX file of `type` with these dimensions.
std::string idx(char type, std::initializer_list<std::uint32_t> sizes, const std::string& body) {
  std::string file = {0, 0, type, static_cast<char>(sizes.size())};
  for (const std::uint32_t size : sizes) file += big_endian(size);
  return file + body;
}

std::string npy_with(const std::string& header, const std::string& body, char major = 1) {
  std::string file = "\x93NUMPY";
  file += major;
  file += '\0';
  const auto length = static_cast<std::uint32_t>(header.size());
  file.append(reinterpret_cast<const char*>(&length), major == 1 ? 2 : 4);
  return file + header + body;
}

std::string npy(const std::string& descr, const std::string& shape, const std::string& body,
                char major = 1) {
  return npy_with("{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }  \n",
                  body, major);
}

template <class T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::string gzip(const std::string& content) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(compressBound(content.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

/// Keeps chunks in memory.
class MemorySink : public ChunkSink {
 public:
  bool is_wanted(const Digest& digest) override { return !chunks.contains(digest); }
  Status put(const Digest& digest, std::span<const std::byte> bytes) override {
    EXPECT_EQ(sha256(bytes), digest);
    chunks[digest] = as_text(bytes);
    return {};
  }
  std::map<Digest, std::string> chunks;
};

class Import : public testing::Test {
 protected:
  Import() {
    std::string pattern = fs::temp_directory_path() / "mh-import-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~Import() override { fs::remove_all(folder_); }

  fs::path write(const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }

  /// Options for two train files.
  ImportOptions files(const std::string& inputs, const std::string& targets) {
    ImportOptions options;
    options.files["train"] = {write("x", inputs), write("y", targets)};
    return options;
  }

  /// The error's text after the name of the file, "" when it is taken.
  std::string refusal(const ImportOptions& options) {
    const auto plan = plan_import(options);
    if (plan) return "";
    std::string text = plan.error().message;
    for (std::size_t at; (at = text.find(folder_.string() + "/")) != std::string::npos;) {
      text.erase(at, folder_.string().size() + 1);
    }
    return text;
  }
  std::string refusal(const std::string& inputs, const std::string& targets) {
    return refusal(files(inputs, targets));
  }
  /// What is said of an input file beside two good labels.
  std::string input_refusal(const std::string& inputs) { return refusal(inputs, kTwoLabels); }

  const std::string kTwoLabels = idx(8, {2}, {1, 0});
  const std::string kTwoImages = idx(8, {2, 1, 2}, {1, 2, 3, 4});
  fs::path folder_;
};

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
  const std::string expected = plan_import(files(npy("<f4", "(2,)", floats), labels)).value().manifest_json;
  EXPECT_EQ(plan_import(files(idx(13, {2}, floats_big), labels)).value().manifest_json, expected);
  EXPECT_EQ(plan_import(files(npy(">f4", "(2,)", floats_big), labels)).value().manifest_json, expected);
  EXPECT_EQ(plan_import(files(npy("<f4", "(2,)", floats, 2), labels)).value().manifest_json, expected);
  EXPECT_EQ(plan_import(files(npy("<f4", "(2,)", floats, 3), labels)).value().manifest_json, expected);
  EXPECT_EQ(plan_import(files(npy("<i8", "(2,)", raw<std::int64_t>({-5, 7})), labels))
                .value().manifest.normalization.mean[0], 1.0);
  EXPECT_EQ(plan_import(files(idx(12, {2}, big_endian(4) + big_endian(8)), labels))
                .value().manifest.normalization.mean[0], 6.0);
  EXPECT_EQ(plan_import(files(npy("|u1", "(2, 2)", {1, 2, 3, 4}), labels)).value().manifest.input.shape,
            std::vector<std::int64_t>{2});
}

TEST_F(Import, CutsChunksOfAtMost4096Samples) {
  const std::uint32_t count = 10'000;
  const std::string labels(count, '\1');
  const ImportPlan plan =
      plan_import(files(idx(8, {count, 2}, std::string(2 * count, 'x')), idx(8, {count}, labels))).value();
  const SplitInfo& train = plan.manifest.splits.at("train");
  ASSERT_EQ(train.chunks.size(), 3U);
  EXPECT_EQ(train.chunks[0].count, 4'096U);
  EXPECT_EQ(train.chunks[2].count, 10'000U - 2 * 4'096);
  EXPECT_EQ(plan.manifest.normalization.std[0], 1.0) << "a constant channel";
}

TEST_F(Import, CutsChunksOfAtMost4MiB) {
  const std::uint32_t side = 1'024;  // One sample is 1 MiB and a label: three fit.
  const ImportPlan plan = plan_import(files(idx(8, {5, side, side}, std::string(5U << 20, 'x')),
                                            idx(8, {5}, std::string(5, '\0')))).value();
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
  for (const Digest& digest : plan.manifest.chunk_digests()) EXPECT_TRUE(sink.chunks.contains(digest));
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
  ImportOptions options = files(npy("<i4", "(1000,)", raw(values)), idx(8, {count}, std::string(count, '\0')));
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
  const std::string inputs = npy("<f4", "(2, 2, 1, 2)", raw<float>({1, 2, 100, 200, 3, 4, 300, 400}));
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
              .value().manifest.normalization;
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
  EXPECT_EQ(refusal(options), "x, y: sample 0: target is -4, classes are numbered 0 to 999999; give "
                              "--targets-are-numbers if the targets are no classes");
  options.targets_are_numbers = true;
  EXPECT_EQ(plan_import(options).value().manifest.class_count, 0U);
}

TEST_F(Import, TakesAColumnOfClassNumbersAsAList) {
  const std::string column = npy("<i8", "(2, 1)", raw<std::int64_t>({1, 0}));
  EXPECT_TRUE(plan_import(files(kTwoImages, column)).value().manifest.target.shape.empty());
}

TEST_F(Import, RefusesALabelOutOfRangeNamingTheSample) {
  ImportOptions options = files(kTwoImages, idx(8, {2}, {1, 2}));
  options.class_names = {"cat", "dog"};
  EXPECT_EQ(refusal(options),
            "x, y: sample 1: target is 2, classes are numbered 0 to 1 (2 class names are given)");
}

TEST_F(Import, RefusesMismatchedCounts) {
  EXPECT_EQ(refusal(kTwoImages, idx(8, {3}, {1, 0, 1})),
            "x holds 2 samples, y holds 3 targets; every sample needs exactly one target");
}

TEST_F(Import, RefusesNumbersThatAreNotFinite) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(input_refusal(npy("<f4", "(2, 2)", raw<float>({1, 2, 3, nan}))),
            "x, y: sample 1: input number 1 is NaN or infinite; remove or repair the sample");
  EXPECT_EQ(refusal(kTwoImages, npy("<f4", "(2,)", raw<float>({nan, 1}))),
            "x, y: sample 0: target number 0 is NaN or infinite; remove or repair the sample");
}

TEST_F(Import, RefusesWhatIsNoDataFile) {
  EXPECT_EQ(input_refusal("PK\3\4 zip"),
            "x: it is neither IDX nor NumPy .npy (plain or gzip): it begins with 80, 75");
  EXPECT_EQ(input_refusal(""), "x: it ends within its header; it is no data file");
  EXPECT_EQ(input_refusal(idx(11, {2}, "abcd")),
            "x: its IDX type is 11, allowed are 8 (bytes), 12 (32-bit integers) and 13 (32-bit floats); "
            "save the array as .npy of a type that fits");
  EXPECT_EQ(input_refusal(std::string("\0\0\10\0", 4)),
            "x: its IDX header has 0 dimensions, allowed are 1 to 9");
  EXPECT_EQ(input_refusal(idx(8, {0}, "")), "x: it holds no samples");
  EXPECT_EQ(input_refusal(idx(8, {2, 0}, "")), "x: one of its dimensions is 0");
}

TEST_F(Import, RefusesSizesThatDoNotMatchTheHeader) {
  EXPECT_EQ(input_refusal(idx(8, {2, 2}, "abc")),
            "x: its header announces 2 samples, which make a file of 16 bytes, but it has 15; copy or "
            "write the file again");
  EXPECT_NE(input_refusal(idx(8, {2, 2}, "abcde")).find("but it has 17"), std::string::npos);
  EXPECT_EQ(input_refusal(gzip(idx(8, {2, 2}, "abc"))),
            "x: it is cut short: it ends within sample 1 of the 2 that its header announces; copy or "
            "write the file again");
  EXPECT_EQ(input_refusal(gzip(idx(8, {2, 2}, "abcde"))),
            "x: bytes follow the 2 samples that its header announces; copy or write the file again");
  EXPECT_NE(input_refusal(idx(8, {2, 4'000'000'000, 4'000'000'000, 4'000'000'000}, "")).find("which is the limit"),
            std::string::npos);
}

TEST_F(Import, RefusesDamagedGzip) {
  const std::string good = gzip(kTwoImages);
  EXPECT_NE(input_refusal(good.substr(0, good.size() - 3)).find("x: the gzip data is cut short after"),
            std::string::npos);
  std::string damaged = good;
  damaged[damaged.size() - 6] ^= 1;
  EXPECT_NE(input_refusal(damaged).find("x: the gzip data is damaged near byte"), std::string::npos);
  EXPECT_NE(input_refusal(good + "tail").find("x: the gzip data is damaged"), std::string::npos);
}

TEST_F(Import, RefusesNumpyArraysWithTheRemedy) {
  EXPECT_EQ(input_refusal(npy("<f8", "(2,)", std::string(16, '\0'))),
            "x: its type is '<f8', allowed are u1, i4, i8 and f4; save it with .astype('float32')");
  EXPECT_NE(input_refusal(npy("|b1", "(2,)", "ab")).find(".astype('uint8')"), std::string::npos);
  EXPECT_NE(input_refusal(npy("<i2", "(2,)", "abcd")).find(".astype('int32')"), std::string::npos);
  EXPECT_NE(input_refusal(npy("|O", "(2,)", "ab")).find("Python objects"), std::string::npos);
  EXPECT_NE(input_refusal(npy("<U7", "(2,)", "ab")).find("save an array of uint8"), std::string::npos);
  EXPECT_EQ(input_refusal(npy_with("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 2), }\n", "abcd")),
            "x: it is in Fortran order; save it with np.ascontiguousarray(array)");
  EXPECT_NE(input_refusal(npy_with("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }\n", ""))
                .find("a record"), std::string::npos);
  EXPECT_NE(input_refusal(npy("|u1", "()", "a")).find("its shape is ()"), std::string::npos);
}

TEST_F(Import, ReadsNumpyHeadersStrictly) {
  const auto error = [](const std::string& header) {
    const auto parsed = parse_npy_header(header);
    return parsed ? "" : parsed.error().message;
  };
  EXPECT_EQ(error("{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }"), "");
  EXPECT_EQ(error("{\"shape\": (2,), \"fortran_order\": False, \"descr\": \"|u1\"}"), "");
  for (const char* bad : {
           "", "{", "{}", "{'descr': '|u1'}", "{'descr': '|u1', 'fortran_order': 0, 'shape': (2,)}",
           "{'descr': '|u1', 'fortran_order': False, 'shape': (2,)} x",
           "{'descr': '|u1', 'fortran_order': False, 'shape': (2, -1)}",
           "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,)}",
           "{'descr': '|u1', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1,1)}",
           "{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (2,)}",
           "{'descr': '|u1', 'fortran_order': False, 'shape': __import__('os')}",
           "{'descr': '|u1' 'fortran_order': False, 'shape': (2,)}", "{'descr: 1}"}) {
    EXPECT_NE(error(bad), "") << bad;
  }
  EXPECT_NE(input_refusal(std::string("\x93NUMPY\x02\0\xff\xff\xff\xff", 12)).find("limit is 65536"),
            std::string::npos);
  EXPECT_NE(input_refusal(std::string("\x93NUMPY\x09\0\x10\0", 10)).find("version is 9"), std::string::npos);
}

TEST_F(Import, RefusesSplitsThatDoNotFitTogether) {
  ImportOptions options = files(kTwoImages, kTwoLabels);
  options.files["test"] = {write("tx", idx(8, {2, 2, 2}, "abcdefgh")), write("ty", kTwoLabels)};
  EXPECT_EQ(refusal(options),
            "tx: its samples are u8 2×2, those of train are u8 1×2; all splits must agree");
  options.files["test"] = {write("tx", kTwoImages), {}};
  EXPECT_NE(refusal(options).find("inputs and targets are both needed"), std::string::npos);
  options.files.erase("test");
  options.cuts = {{"val", 0.01}};
  EXPECT_NE(refusal(options).find("each split must get at least one sample"), std::string::npos);
  options.cuts = {{"val", 0.5}, {"test", 0.5}};
  EXPECT_NE(refusal(options).find("each split must get at least one sample"), std::string::npos);
  options.cuts = {{"val", 0.5}, {"val", 0.1}};
  EXPECT_EQ(refusal(options), "--split val: that split is given already");
  EXPECT_NE(refusal(ImportOptions()).find("no train files are given"), std::string::npos);
}

TEST_F(Import, NamesAFileThatIsNotThere) {
  ImportOptions options = files(kTwoImages, kTwoLabels);
  options.files["train"].inputs = folder_ / "nowhere.npy";
  const auto plan = plan_import(options);
  EXPECT_EQ(plan.error().code, Errc::kNotFound);
  EXPECT_NE(plan.error().message.find("nowhere.npy"), std::string::npos);
  options.files["train"].inputs = folder_;
  EXPECT_NE(plan_import(options).error().message.find("is a folder"), std::string::npos);
}

TEST_F(Import, RefusesClassNamesThatAreNoUtf8) {
  ImportOptions options = files(kTwoImages, kTwoLabels);
  options.class_names = {"cat", "\xff\xfe"};
  EXPECT_EQ(refusal(options), "class names must be UTF-8");
  options.class_names = {"cat", "cat"};
  EXPECT_NE(refusal(options).find("stands there twice"), std::string::npos);
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
  for (const char* bad : {"", "val", "val=", "val=x", "val=0.1x", "val=0", "val=1", "val=nan", "val=-1",
                          "train=0.5", "dev=0.1", "=0.1"}) {
    EXPECT_FALSE(parse_split_cut(bad)) << bad;
  }
  EXPECT_EQ(parse_class_names("cat, wild dog ,bird").value(),
            (std::vector<std::string>{"cat", "wild dog", "bird"}));
  EXPECT_FALSE(parse_class_names(""));
  EXPECT_FALSE(parse_class_names("a,,b"));
}

TEST_F(Import, SurvivesMutatedFiles) {
  const std::string npy_file = npy("<f4", "(6, 2)", raw(std::vector<float>(12, 1.0F)));
  const std::vector<std::string> seeds = {kTwoImages, gzip(kTwoImages), npy_file, gzip(npy_file)};
  Philox4x32 random(7);
  int taken = 0;
  for (int round = 0; round < 1'500; ++round) {
    std::string mutant = seeds[random.below(seeds.size())];
    for (std::uint64_t i = random.below(3) + 1; i > 0; --i) {
      mutant[random.below(mutant.size())] = static_cast<char>(random.below(256));
    }
    if (random.below(4) == 0) mutant.resize(random.below(mutant.size()));
    const auto plan = plan_import(files(mutant, round % 2 == 0 ? kTwoLabels : idx(8, {6}, std::string(6, '\1'))));
    taken += plan ? 1 : 0;
  }
  EXPECT_GT(taken, 0) << "some mutations change only values";
}

}  // namespace
}  // namespace mh::cli
