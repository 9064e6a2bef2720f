// The one folder in which a trainer may write: a file for each update that it was asked for, made
// here beforehand, because a trainer in the sandbox can make none. What it leaves is a stranger's
// work: it is moved out of its reach first and looked at then. Threads: one.
#pragma once

#include <filesystem>
#include <map>

#include "proto/base/ids.h"
#include "proto/base/result.h"

namespace mh::client {

class Outbox {
 public:
  /// `folder` must exist.
  explicit Outbox(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// Makes the empty file for an update of at most `bytes_max`. Errors: kInternal,
  /// kResourceExhausted.
  Status prepare(ResultId result, std::uint64_t bytes_max);
  bool is_prepared(ResultId result) const { return bytes_max_.contains(result); }
  /// The largest of what is prepared; 0: nothing is.
  std::uint64_t largest_bytes() const;
  /// Moves the update to `target`, which then is a plain file of `bytes` bytes with no other name,
  /// or not there. Errors: kInvalidArgument, saying what was found instead.
  Status take(ResultId result, std::uint64_t bytes, const std::filesystem::path& target);
  /// Forgets and removes it; none there is no error.
  void drop(ResultId result);
  /// Removes whatever is in the folder. For before a trainer starts and after one has ended.
  void clear();

  std::filesystem::path path(ResultId result) const {
    return folder_ / (to_string(result) + ".update");
  }

 private:
  const std::filesystem::path folder_;
  std::map<ResultId, std::uint64_t> bytes_max_;
};

}  // namespace mh::client
