// Samples out of chunks: values, and chunks that are not what the manifest says.
#include "trainer/update/sample_reader.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

namespace mh::update {
namespace {

namespace fs = std::filesystem;

template <class T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

class Samples : public testing::Test {
 protected:
  Samples() {
    std::string pattern = fs::temp_directory_path() / "mh-samples-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~Samples() override { fs::remove_all(folder_); }

  void write(const fs::path& name, const std::string& content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }

  /// Appends a chunk to the train split.
  void add_chunk(std::uint64_t count, const std::string& content) {
    SplitInfo& train = manifest_.splits["train"];
    train.chunks.push_back({sha256(content), content.size(), count});
    train.count += count;
    write(sha256(content).hex(), content);
  }

  /// Five samples of 2 channels × 1 × 2 bytes with a byte as target, in chunks of three.
  void make_images() {
    manifest_.input = {DataType::kU8, {2, 1, 2}};
    manifest_.target = {DataType::kU8, {}};
    manifest_.class_count = 10;
    manifest_.normalization = {{1, 100}, {2, 50}};
    add_chunk(3, std::string{1, 2, 100, 101, 3, 4, 102, 103, 5, 6, 104, 105, 7, 8, 9});
    add_chunk(2, std::string{7, 8, 106, 107, 9, 10, 108, 109, 0, 12});
  }

  SplitReader open(ChunkCheck check = ChunkCheck::kDigest) {
    return std::move(SplitReader::open(manifest_, "train", folder_, check).value());
  }

  DatasetManifest manifest_;
  fs::path folder_;
};

TEST_F(Samples, ComeInTheOrderAskedFor) {
  make_images();
  SplitReader reader = open();
  EXPECT_EQ(reader.count(), 5U);
  EXPECT_EQ(reader.input_elements(), 4U);
  std::vector<float> inputs(12);
  const std::vector<std::uint64_t> samples = {4, 0, 2};
  ASSERT_TRUE(reader.gather_inputs(samples, false, inputs));
  EXPECT_EQ(inputs, (std::vector<float>{9, 10, 108, 109, 1, 2, 100, 101, 5, 6, 104, 105}));
}

TEST_F(Samples, AreNormalizedByChannel) {
  make_images();
  SplitReader reader = open();
  std::vector<float> inputs(4);
  const std::vector<std::uint64_t> samples = {3};
  ASSERT_TRUE(reader.gather_inputs(samples, true, inputs));
  EXPECT_EQ(inputs, (std::vector<float>{3.0F, 3.5F, 6 * (1 / 50.0F), 7 * (1 / 50.0F)}));
}

TEST_F(Samples, HaveClassesWithinRange) {
  make_images();
  SplitReader reader = open();
  std::vector<std::int64_t> classes(3);
  ASSERT_TRUE(reader.gather_classes(std::vector<std::uint64_t>{2, 1, 3}, 10, classes));
  EXPECT_EQ(classes, (std::vector<std::int64_t>{9, 8, 0}));
  const auto status = reader.gather_classes(std::vector<std::uint64_t>{0, 1, 4}, 10, classes);
  EXPECT_EQ(status.error().message, "target of sample 4 of train is 12, allowed are 0 to 9");
  std::vector<float> numbers(1);
  ASSERT_TRUE(reader.gather_targets(std::vector<std::uint64_t>{4}, numbers));
  EXPECT_EQ(numbers[0], 12.0F);
}

TEST_F(Samples, AreRowNumbersForAnEmbedding) {
  manifest_.input = {DataType::kI64, {2}};
  manifest_.target = {DataType::kF32, {1}};
  manifest_.normalization = {{0}, {1}};
  add_chunk(2, raw<std::int64_t>({5, 6, 7, -1}) + raw<float>({0.5F, 1.5F}));
  SplitReader reader = open();
  std::vector<std::int64_t> rows(2);
  ASSERT_TRUE(reader.gather_input_indices(std::vector<std::uint64_t>{0}, 7, rows));
  EXPECT_EQ(rows, (std::vector<std::int64_t>{5, 6}));
  EXPECT_EQ(reader.gather_input_indices(std::vector<std::uint64_t>{0}, 6, rows).error().message,
            "input of sample 0 of train is 6, allowed are 0 to 5");
  EXPECT_FALSE(reader.gather_input_indices(std::vector<std::uint64_t>{1}, 8, rows));
  std::vector<float> targets(2);
  ASSERT_TRUE(reader.gather_targets(std::vector<std::uint64_t>{1, 0}, targets));
  EXPECT_EQ(targets, (std::vector<float>{1.5F, 0.5F}));
  std::vector<std::int64_t> classes(1);
  EXPECT_EQ(reader.gather_classes(std::vector<std::uint64_t>{0}, 10, classes).error().message,
            "targets are f32, whole numbers are needed");
}

TEST_F(Samples, OutOfRangeAreRefused) {
  make_images();
  SplitReader reader = open();
  std::vector<float> inputs(4);
  EXPECT_EQ(reader.gather_inputs(std::vector<std::uint64_t>{5}, false, inputs).error().message,
            "sample 5 of train: the split has 5");
  EXPECT_EQ(SplitReader::open(manifest_, "val", folder_, ChunkCheck::kSize).error().message,
            "the data set has no split 'val'; it has train");
}

TEST_F(Samples, OfDamagedChunksAreRefused) {
  make_images();
  std::vector<float> inputs(4);
  const std::vector<std::uint64_t> sample = {0};
  const std::string name = manifest_.splits["train"].chunks[0].digest.hex();
  write(name, std::string(15, '\1'));
  EXPECT_EQ(open().gather_inputs(sample, false, inputs).error().code, Errc::kDataLoss);
  EXPECT_TRUE(open(ChunkCheck::kSize).gather_inputs(sample, false, inputs));
  write(name, std::string(14, '\1'));
  EXPECT_EQ(open(ChunkCheck::kSize).gather_inputs(sample, false, inputs).error().code,
            Errc::kDataLoss);
  write(name, "");
  EXPECT_EQ(open(ChunkCheck::kSize).gather_inputs(sample, false, inputs).error().code,
            Errc::kDataLoss);
  fs::remove(folder_ / name);
  EXPECT_EQ(open(ChunkCheck::kSize).gather_inputs(sample, false, inputs).error().code,
            Errc::kNotFound);
}

TEST_F(Samples, AreFoundThroughTheFolderOfAnImport) {
  make_images();
  manifest_.splits["train"].class_counts = {1, 0, 0, 0, 0, 0, 0, 1, 1, 2};
  EXPECT_EQ(open_data_folder(folder_).error().code, Errc::kNotFound);
  const std::string text = to_json(manifest_);
  write("manifest.json", text);
  const DataFolder folder = open_data_folder(folder_).value();
  EXPECT_EQ(folder.manifest, manifest_);
  EXPECT_EQ(folder.manifest_digest, sha256(text));
  write("manifest.json", "{}");
  EXPECT_NE(open_data_folder(folder_).error().message.find("manifest.json: manifest: format"),
            std::string::npos);
}

}  // namespace
}  // namespace mh::update
