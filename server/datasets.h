// Data sets by name, with their manifests, in memory. Decides and returns the row to store, as
// Accounts does.
// Threads: owned by the state strand.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "proto/base/dataset_manifest.h"
#include "proto/base/result.h"
#include "server/rows.h"

namespace mh::server {

using ManifestPtr = std::shared_ptr<const DatasetManifest>;

struct Dataset {
  DatasetRow row;
  ManifestPtr manifest;
};

// 1 to 64 letters, digits, '.', '_', '-'; starts with a letter or digit. Errors: kInvalidArgument.
Status check_dataset_name(const std::string& name);

class Datasets {
 public:
  // Requires: the name is free.
  void add(DatasetRow row, ManifestPtr manifest);
  // Null if there is none.
  const Dataset* find(const std::string& name) const;
  void remove(const std::string& name);
  // By name.
  const std::map<std::string, Dataset>& all() const { return datasets_; }
  std::vector<std::string> names() const;
  // True for a manifest or chunk of any data set.
  bool is_blob_used(const Digest& blob) const { return uses_.contains(blob); }

 private:
  std::map<std::string, Dataset> datasets_;
  // How many data sets need a blob.
  std::unordered_map<Digest, std::uint32_t> uses_;
};

}  // namespace mh::server
