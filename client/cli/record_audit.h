// The step records of a job, checked as they come: signatures, the chain, what a step must be by
// the job's specification. No network: pages go in, findings come out.
//
// Flow: verify_verb (pages of ListStepRecords) -> here -> which steps are still kept -> step_audit.
// Everything from the server is hostile until it is checked. Threads: one.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "manyhands/v1/job.pb.h"
#include "proto/base/signature.h"
#include "proto/base/step_record.h"
#include "trainer/update/job_rule.h"

namespace mh::cli {

/// Something that is wrong, and where.
struct AuditFinding {
  std::optional<std::uint64_t> step;
  std::optional<std::uint64_t> shard;
  /// "update", "parameters after", "record" …; and what it is called, in hex.
  std::string what;
  std::string digest;
  std::string problem;

  /// "step 7, shard 3, update 12ab…: its bytes …"
  std::string text() const;
};

/// A record whose blobs the server keeps.
struct KeptRecord {
  std::uint64_t sequence = 0;
  std::uint64_t step = 0;
  Digest digest;
};

class RecordAudit {
 public:
  /// Kept records remembered: the newest (a server keeps fewer, server/options.h).
  static constexpr std::size_t kKeptMax = 65'536;

  /// `key`: the only one that may sign; none: the one that the first page names.
  explicit RecordAudit(std::optional<PublicKey> key) : key_(key) {}

  /// How steps are cut and taken; `rule` with its step_count. Before the first take().
  void set_rule(const update::JobRule& rule) { rule_ = rule; }

  /// Takes the page that begins with record next(). Returns what is wrong; nothing after that may
  /// be taken.
  std::optional<AuditFinding> take(const manyhands::v1::ListStepRecordsResponse& page);

  /// The sequence number of the record wanted next.
  std::uint64_t next() const { return chain_.count(); }
  /// The last page told of no more records than were taken.
  bool is_complete() const { return is_complete_; }

  const std::optional<PublicKey>& key() const { return key_; }
  const RecordChain& chain() const { return chain_; }
  std::uint64_t rewind_count() const { return rewind_count_; }
  /// Those kept as of the last page, oldest first.
  const std::deque<KeptRecord>& kept() const { return kept_; }

 private:
  std::optional<AuditFinding> take_one(const manyhands::v1::StepRecord& record);
  std::string complaint(const StepRecord& record) const;
  std::string wrong_updates(const StepRecord& record) const;

  std::optional<PublicKey> key_;
  std::optional<update::JobRule> rule_;
  RecordChain chain_;
  std::deque<KeptRecord> kept_;
  std::uint64_t rewind_count_ = 0;
  bool is_complete_ = false;
};

}  // namespace mh::cli
