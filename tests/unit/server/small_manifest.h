// A data set of five numbers a sample and three classes, in one chunk, for jobs of tests.
#pragma once

#include <string_view>

#include "proto/base/dataset_manifest.h"

namespace mh::server {

inline DatasetManifest small_manifest(std::vector<std::uint64_t> class_counts) {
  DatasetManifest manifest;
  manifest.input = {DataType::kF32, {5}};
  manifest.target = {DataType::kI32, {}};
  manifest.class_count = 3;
  manifest.normalization = {{0}, {1}};
  SplitInfo train;
  for (const std::uint64_t count : class_counts) train.count += count;
  train.class_counts = std::move(class_counts);
  train.chunks = {
      {sha256(std::string_view("chunk")), train.count * manifest.sample_bytes(), train.count}};
  manifest.splits.emplace("train", train);
  return manifest;
}

}  // namespace mh::server
