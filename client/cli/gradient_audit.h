// A sample of the kept updates computed again by the local trainer, and compared: bits, else the
// relative distance. Which updates are in the sample follows from a seed and their digests, so that
// nobody can know it before, and anybody can repeat it after.
//
// Flow: step_audit (checked updates) -> keep() -> flush(): `manyhands-trainer gradient` -> compare.
// Disk: the kept updates and their parameters, at most kKeptBytesMax at a time; the data set unless
// its folder is given. Threads: one; blocks on network, disk and the trainer.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "client/cli/context.h"
#include "client/cli/record_audit.h"
#include "client/cli/step_audit.h"
#include "proto/base/dataset_manifest.h"

namespace mh::cli {

struct GradientOptions {
  /// Share of the updates, 0 to 1.
  double share = 0;
  std::uint64_t seed = 0;
  /// Largest |mine - theirs| / |theirs| that is no finding.
  double tolerance = 1e-4;
  /// Folder of the data set; empty: it is downloaded.
  std::string data;
  /// The trainer program; empty: MANYHANDS_TRAINER, else manyhands-trainer beside this one.
  std::string trainer;
};

struct GradientCounts {
  std::uint64_t computed = 0;
  std::uint64_t equal = 0;
  std::uint64_t within = 0;
  /// Of those within the tolerance.
  double distance_max = 0;
};

/// The job that the gradients are of.
struct AuditedJob {
  std::string canonical_json;
  DatasetManifest manifest;
  std::string manifest_json;
};

class GradientAudit {
 public:
  static constexpr std::uint64_t kKeptBytesMax = std::uint64_t{1} << 30;

  GradientAudit(Context& context, const AuditedJob& job, GradientOptions options,
                std::filesystem::path folder)
      : context_(context), job_(job), options_(std::move(options)), folder_(std::move(folder)) {}

  /// Takes the update's file if it is in the sample.
  Status keep(const CheckedUpdate& update, std::vector<AuditFinding>& findings);
  /// Computes what was kept. Errors: the trainer cannot be started or fails; the disk is full …
  Status flush(std::vector<AuditFinding>& findings);

  const GradientCounts& counts() const { return counts_; }

 private:
  struct Sample {
    AuditFinding place;
    std::filesystem::path theirs;
    std::filesystem::path mine;
    std::filesystem::path parameters;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  bool is_chosen(const RecordedUpdate& update) const;
  Status prepare();
  Status fetch_data();
  Status run_trainer();
  Status compare(const Sample& sample, std::vector<AuditFinding>& findings);

  Context& context_;
  const AuditedJob& job_;
  const GradientOptions options_;
  const std::filesystem::path folder_;
  bool is_prepared_ = false;
  std::vector<Sample> samples_;
  std::uint64_t kept_bytes_ = 0;
  GradientCounts counts_;
};

}  // namespace mh::cli
