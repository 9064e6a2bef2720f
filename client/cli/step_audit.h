// Kept steps taken again: what they started from and their updates are downloaded, aggregated and
// stepped as the server does it, and what comes out is compared bit for bit.
//
// Memory: update::StepReplay. Disk: the state before and after one step, one update (with a robust
// rule: all of a step, mapped), in a folder that vanishes with the audit; and what the sample of
// gradient_audit.h keeps.
// Threads: one; blocks on network and disk.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "client/cli/context.h"
#include "client/cli/record_audit.h"
#include "proto/base/file.h"
#include "trainer/update/job_rule.h"
#include "trainer/update/step_replay.h"

namespace mh::cli {

/// A folder under TMPDIR that is removed with all it holds.
class TemporaryFolder {
 public:
  static Result<TemporaryFolder> make();
  TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  ~TemporaryFolder();
  const std::filesystem::path& path() const { return path_; }

 private:
  explicit TemporaryFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

/// An update of a step, and where its bytes lie. The file is deleted afterwards unless it was moved
/// away.
struct CheckedUpdate {
  const StepRecord& record;
  std::size_t shard = 0;
  std::filesystem::path update;
  std::filesystem::path parameters;
};

class StepAudit {
 public:
  enum class Outcome {
    kRight,
    kWrong,
    /// The server has let go of it meanwhile.
    kGone,
  };

  /// `rule` with its step_count. `seen` is told of every update whose bytes are those of its name.
  StepAudit(Context& context, std::uint64_t job, const update::JobRule& rule,
            std::filesystem::path folder, std::function<Status(const CheckedUpdate&)> seen)
      : context_(context),
        job_(job),
        folder_(std::move(folder)),
        seen_(std::move(seen)),
        rule_(rule),
        replay_(rule.step) {}

  /// Takes the step again. What is wrong is added to `findings`. Errors: the server cannot be
  /// reached, the disk is full …
  Result<Outcome> check(const StepRecord& record, std::vector<AuditFinding>& findings);

  std::uint64_t update_count() const { return update_count_; }

 private:
  /// A blob's file; none: it is missing or not what it should be, and that was told.
  Result<std::optional<std::filesystem::path>> fetch(const Digest& digest, std::uint64_t bytes_max,
                                                     AuditFinding place);
  Result<bool> begin(const StepRecord& record);
  Result<bool> add_updates(const StepRecord& record);
  Status add_update(MappedFile file, const RecordedUpdate& update);
  Result<update::StepOutcome> take_step(const StepRecord& record);
  void compare(const StepRecord& record);
  Status fetch_outcome(const StepRecord& record);
  Result<bool> is_kept(std::uint64_t sequence);
  void add(AuditFinding found, std::string problem);
  void keep_only(const StepRecord& record);

  Context& context_;
  const std::uint64_t job_;
  const std::filesystem::path folder_;
  const std::function<Status(const CheckedUpdate&)> seen_;
  const update::JobRule rule_;
  update::StepReplay replay_;
  std::uint64_t update_count_ = 0;
  // Of the check under way.
  std::vector<AuditFinding>* findings_ = nullptr;
  std::uint64_t sequence_ = 0;
  bool is_gone_ = false;
  // With a robust rule: the updates so far, which lie in files that may have no name any more.
  std::vector<MappedFile> files_;
  std::vector<std::span<const float>> sums_;
  std::vector<std::string> hosts_;
  // Blobs that were found wrong, so that each is told once.
  std::set<Digest> wrong_;
};

}  // namespace mh::cli
