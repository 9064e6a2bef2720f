// See datasets.h.
#include "server/datasets.h"

#include <algorithm>

#include "proto/base/check.h"

namespace mh::server {
namespace {

constexpr std::size_t kNameBytesMax = 64;

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

std::vector<Digest> blobs_of(const Dataset& dataset) {
  std::vector<Digest> blobs = dataset.manifest->chunk_digests();
  blobs.push_back(dataset.row.manifest);
  return blobs;
}

}  // namespace

Status check_dataset_name(const std::string& name) {
  const bool is_well_formed =
      !name.empty() && name.size() <= kNameBytesMax && is_letter_or_digit(name.front()) &&
      std::all_of(name.begin(), name.end(),
                  [](char c) { return is_letter_or_digit(c) || c == '.' || c == '_' || c == '-'; });
  if (is_well_formed) return {};
  return fail(Errc::kInvalidArgument,
              "data set name \"" + name.substr(0, kNameBytesMax) +
                  "\": 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit");
}

void Datasets::add(DatasetRow row, ManifestPtr manifest) {
  const std::string name = row.name;
  const auto [place, is_new] =
      datasets_.emplace(name, Dataset{std::move(row), std::move(manifest)});
  MH_CHECK(is_new);
  for (const Digest& blob : blobs_of(place->second)) ++uses_[blob];
}

const Dataset* Datasets::find(const std::string& name) const {
  const auto found = datasets_.find(name);
  return found == datasets_.end() ? nullptr : &found->second;
}

void Datasets::remove(const std::string& name) {
  const auto found = datasets_.find(name);
  if (found == datasets_.end()) return;
  for (const Digest& blob : blobs_of(found->second)) {
    const auto use = uses_.find(blob);
    if (--use->second == 0) uses_.erase(use);
  }
  datasets_.erase(found);
}

std::vector<std::string> Datasets::names() const {
  std::vector<std::string> names;
  for (const auto& [name, dataset] : datasets_) names.push_back(name);
  return names;
}

}  // namespace mh::server
