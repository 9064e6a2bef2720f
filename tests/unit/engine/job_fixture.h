// A folder with a small job and its data set: 6×6 images whose bright row is their class.
// Torch-free.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "proto/base/dataset_manifest.h"
#include "proto/base/sha256.h"
#include "trainer/engine/job_files.h"

namespace mh::engine {

class JobFolder : public testing::Test {
 protected:
  JobFolder() {
    std::string pattern = std::filesystem::temp_directory_path() / "mh-engine-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    write_data();
    write("job.yaml", job_text());
  }
  ~JobFolder() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path path(const std::string& name) const { return folder_ / name; }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path(name), std::ios::binary) << content;
  }

  static std::string job_text(
      const std::string& optimizer = "{kind: sgd, learning_rate: 0.2, momentum: 0.9}") {
    return "name: rows\ndataset: rows\nseed: 3\nloss: cross_entropy\n"
           "model: {layers: [flatten, {linear: {out: 8}}, relu, {dropout: {p: 0.1}}, {linear: "
           "{}}]}\n"
           "training: {steps: 6, batch: 16, shard: 8, micro_batch: 4}\n"
           "evaluation: {split: test, every_steps: 3, shard: 16}\noptimizer: " +
           optimizer + "\n";
  }

  Result<JobFiles> files(const std::string& name = "job.yaml") const {
    return read_job_files(path(name), {path("data").string()});
  }

  std::filesystem::path folder_;
  DatasetManifest manifest_;

 private:
  void add_chunk(SplitInfo& split, std::uint64_t first, std::uint64_t count) {
    std::string inputs;
    std::string targets;
    for (std::uint64_t i = first; i < first + count; ++i) {
      const auto label = static_cast<char>(i % 6);
      for (int pixel = 0; pixel < 36; ++pixel) {
        inputs.push_back(static_cast<char>(pixel / 6 == label ? 180 + i % 40 : i * 7 % 30));
      }
      targets.push_back(label);
      ++split.class_counts[static_cast<std::size_t>(label)];
    }
    const std::string content = inputs + targets;
    write("data/" + sha256(content).hex(), content);
    split.chunks.push_back({sha256(content), content.size(), count});
    split.count += count;
  }

  void write_data() {
    std::filesystem::create_directory(path("data"));
    manifest_.input = {DataType::kU8, {6, 6}};
    manifest_.target = {DataType::kU8, {}};
    manifest_.class_count = 6;
    manifest_.normalization = {{40}, {70}};
    for (const char* name : {"train", "test"}) manifest_.splits[name].class_counts.assign(6, 0);
    add_chunk(manifest_.splits["train"], 0, 24);
    add_chunk(manifest_.splits["train"], 24, 16);
    add_chunk(manifest_.splits["test"], 40, 20);
    write("data/manifest.json", to_json(manifest_));
  }
};

}  // namespace mh::engine
