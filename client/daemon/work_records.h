// Finished results on disk, so that a client that is killed still delivers them: one small JSON
// file a result beside the update it names. Written whole or not at all; not fsynced: it must
// outlive the process, not the power. Errors are told and the work goes on: a lost record costs
// one workunit. How many are kept, and for how long, is the host core's business (rule 8 there).
// Threads: one.
#pragma once

#include <filesystem>
#include <vector>

#include "client/daemon/host_types.h"

namespace mh::client {

class WorkRecords {
 public:
  /// `folder` must exist. Records of another host (an earlier attachment) are not taken.
  WorkRecords(std::filesystem::path folder, HostId host)
      : folder_(std::move(folder)), host_(host) {}

  Status keep(const Report& report);
  /// Removes record and update; none there is no error.
  void drop(ResultId result);
  /// What an earlier run left. Everything in the folder that is no whole result of this host is
  /// removed.
  std::vector<Report> recover();

  std::filesystem::path update_path(ResultId result) const {
    return folder_ / (to_string(result) + ".update");
  }

 private:
  std::filesystem::path record_path(ResultId result) const {
    return folder_ / (to_string(result) + ".json");
  }
  Result<Report> read(const std::filesystem::path& path) const;

  const std::filesystem::path folder_;
  const HostId host_;
};

}  // namespace mh::client
