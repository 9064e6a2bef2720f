// The public record of a step: what it started from, which updates went into it and how, what came
// out. Canonical JSON in one line, format "manyhands-record/1" (docs/audit.md); its name is the
// SHA-256 of these bytes. Records of a job are a chain: each holds the digest of the one before.
//
// Flow: scheduler/step_records writes it -> the server stores, signs and serves it ->
// `manyhands verify` and `manyhands-server check` read it. Pure; no threads. Readers take hostile
// text.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/ids.h"
#include "proto/base/result.h"
#include "proto/base/sha256.h"

namespace mh {

// Most updates of a step (scheduler/job_spec.h, kWorkunitsPerStepMax), and the largest record that
// this makes.
inline constexpr std::size_t kRecordUpdatesMax = 65'536;
inline constexpr std::uint64_t kRecordBytesMax = 15'000'000;
inline constexpr std::size_t kRecordTextBytesMax = 512;

// Persistent numbers.
enum class RecordKind : std::uint8_t {
  // The next step, from its hosts' updates. "step".
  kStep = 1,
  // An earlier step taken again without some of its updates; what came after it counts no longer.
  // "rewind".
  kRewind = 2,
  // A later step applied again after a rewind, from the updates that it had. "reapply".
  kReapply = 3,
};

// One update of a step, in the order in which they were added.
struct RecordedUpdate {
  // Positions of the sample stream. [begin, end)
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  Digest digest;
  // Who computed it: host_pseudonym().
  std::string host;

  friend bool operator==(const RecordedUpdate&, const RecordedUpdate&) = default;
};

// Digests are zero where there is none (an optimizer without state).
struct StepRecord {
  JobId job;
  // Of the canonical job specification, which names the data set and the seed.
  Digest job_digest;
  // From 0, without gaps; the record before it (zero: this is the first).
  std::uint64_t sequence = 0;
  Digest previous;
  RecordKind kind = RecordKind::kStep;
  // From 0.
  std::uint64_t step = 0;
  Digest parameters_before;
  Digest parameters_after;
  Digest optimizer_before;
  Digest optimizer_after;
  // How the updates became one: "mean" (exact, over samples), else names of pre-aggregations and
  // rule with '+' between them, "nnm+trimmed_mean"; their numbers are in the job specification.
  std::string rule = "mean";
  // Samples of the updates: what the mean is divided by.
  std::uint64_t sample_count = 0;
  // Means over the samples as the hosts reported them; accuracy is -1 without classes.
  double loss = 0;
  double accuracy = 0;
  double gradient_norm = 0;
  double learning_rate = 0;
  // Milliseconds since 1970, UTC.
  std::int64_t time_ms = 0;
  // Of a rewind: why. Empty otherwise.
  std::string reason;
  std::vector<RecordedUpdate> updates;

  friend bool operator==(const StepRecord&, const StepRecord&) = default;
};

std::string_view record_kind_name(RecordKind kind);

// Equal records give equal bytes.
std::string to_json(const StepRecord& record);

// Errors: kInvalidArgument with the key, what was found, what is allowed; also for text that is not
// exactly what to_json() makes of it.
Result<StepRecord> parse_step_record(std::string_view json);

// What is signed of a record: "manyhands-record/1 <digest in hex>".
std::string signed_text(const Digest& record);

// 16 hex digits for a host, the same in all records of one job, another in the next job; who does
// not have the secret can tell nothing from it.
std::string host_pseudonym(const Digest& secret, JobId job, HostId host);

// Follows the records of one job from the first, and finds where the chain is broken. Memory is
// bounded: of the steps that count it knows the newest kRewindStepsMax.
class RecordChain {
 public:
  // How far back a rewind may go.
  static constexpr std::size_t kRewindStepsMax = 65'536;

  // Takes the next record: its bytes. Errors: kDataLoss with what is wrong: not canonical, of
  // another job, out of sequence, not after the one before, a step left out, other parameters than
  // those that the step before it made.
  Result<StepRecord> add(std::string_view json);

  // Records taken, and the digest of the last.
  std::uint64_t count() const { return count_; }
  const Digest& head() const { return head_; }
  // The step of the first record; steps that are done.
  std::uint64_t first_step() const { return first_step_; }
  std::uint64_t steps_done() const { return line_begin_ + line_.size(); }
  // The sequence number of the record that counts for a step (rewinds put others in the place of
  // earlier ones); none: not known.
  std::optional<std::uint64_t> sequence_of(std::uint64_t step) const;

 private:
  // A step that counts.
  struct Line {
    std::uint64_t sequence = 0;
    Digest parameters_before;
    Digest optimizer_before;
  };
  std::string complaint(const StepRecord& record) const;
  std::string misplaced(const StepRecord& record) const;
  void take(const StepRecord& record);

  std::uint64_t count_ = 0;
  Digest head_;
  JobId job_;
  Digest job_digest_;
  // What the last record made.
  Digest parameters_;
  Digest optimizer_;
  std::uint64_t first_step_ = 0;
  // From step line_begin_ on, without gaps.
  std::uint64_t line_begin_ = 0;
  std::deque<Line> line_;
};

}  // namespace mh
