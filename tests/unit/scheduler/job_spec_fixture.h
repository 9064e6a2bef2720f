// Job files and data sets for the tests of scheduler/job_spec* and job_check.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/dataset_manifest.h"
#include "scheduler/job_spec.h"

namespace mh::scheduler {

/// A good job file of nine lines; tests change a line or add some.
inline constexpr std::string_view kGoodJob =
    "name: good\n"
    "dataset: fashion-mnist\n"
    "model: {preset: cnn}\n"
    "loss: cross_entropy\n"
    "training: {steps: 40, batch: 128, shard: 32, micro_batch: 16}\n"
    "optimizer: {kind: sgd, learning_rate: 0.1, momentum: 0.9}\n"
    "schedule: {kind: cosine, warmup_steps: 5}\n"
    "clip_norm: 5\n"
    "evaluation: {split: test, every_steps: 20}\n";

/// The good job with `line` (from 1) replaced; an empty text takes the line out.
inline std::string with_line(std::size_t line, std::string_view text) {
  std::string out;
  std::size_t at = 0;
  for (std::size_t number = 1; at < kGoodJob.size(); ++number) {
    const std::size_t end = kGoodJob.find('\n', at) + 1;
    if (number != line) {
      out += kGoodJob.substr(at, end - at);
    } else if (!text.empty()) {
      out += std::string(text) + "\n";
    }
    at = end;
  }
  return out;
}

/// The good job with lines at its end.
inline std::string with_more(std::string_view text) {
  return std::string(kGoodJob) + std::string(text) + "\n";
}

inline std::string all_text(const std::vector<Problem>& problems) {
  std::string text;
  for (const Problem& problem : problems) text += problem_text(problem) + "\n";
  return text;
}

/// The spec of a file that must be good.
inline JobSpec parsed(std::string_view text) {
  ParsedJob job = parse_job(text);
  EXPECT_TRUE(job.spec.has_value()) << all_text(job.problems);
  return job.spec.value_or(JobSpec{});
}

/// A manifest of the wanted shapes; counts and chunks are made up.
struct DataShape {
  SampleTensor input = {DataType::kU8, {28, 28}};
  SampleTensor target = {DataType::kU8, {}};
  std::uint64_t class_count = 10;
  std::uint64_t train_count = 60'000;
  std::uint64_t test_count = 10'000;
};

inline SplitInfo made_up_split(const DatasetManifest& manifest, std::uint64_t count) {
  SplitInfo split;
  split.count = count;
  if (manifest.class_count > 0) {
    split.class_counts.assign(manifest.class_count, 0);
    split.class_counts[0] = count;
  }
  constexpr std::uint64_t kChunkSamples = 4'096;
  for (std::uint64_t begin = 0; begin < count; begin += kChunkSamples) {
    const std::uint64_t samples = std::min(kChunkSamples, count - begin);
    split.chunks.push_back(
        {sha256(std::to_string(begin)), samples * manifest.sample_bytes(), samples});
  }
  return split;
}

inline DatasetManifest made_up_manifest(const DataShape& shape = {}) {
  DatasetManifest manifest;
  manifest.input = shape.input;
  manifest.target = shape.target;
  manifest.class_count = shape.class_count;
  manifest.normalization.mean.assign(manifest.channel_count(), 0.0);
  manifest.normalization.std.assign(manifest.channel_count(), 1.0);
  manifest.splits["train"] = made_up_split(manifest, shape.train_count);
  if (shape.test_count > 0) manifest.splits["test"] = made_up_split(manifest, shape.test_count);
  EXPECT_TRUE(check_manifest(manifest).has_value());
  return manifest;
}

inline Digest digest_of(const DatasetManifest& manifest) { return sha256(to_json(manifest)); }

}  // namespace mh::scheduler
