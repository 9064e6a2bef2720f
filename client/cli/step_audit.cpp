// See step_audit.h.
#include "client/cli/step_audit.h"

#include <stdlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <thread>

#include "trainer/robust/recorded_step.h"

namespace mh::cli {
namespace {

namespace v1 = manyhands::v1;
namespace fs = std::filesystem;

// Parameters of models beyond it cannot be: tensor_pack.h, kPackElementsMax, with an optimizer.
constexpr std::uint64_t kStateBytesMax = (update::kPackElementsMax * 4 * 2) + 4'096;

AuditFinding place_of(const StepRecord& record, std::string what, const Digest& digest) {
  AuditFinding place;
  place.step = record.step;
  place.what = std::move(what);
  if (!digest.is_zero()) place.digest = digest.hex();
  return place;
}

// "3 of 80,202 numbers differ, the first is number 17".
std::string difference(std::span<const std::byte> mine, std::span<const std::byte> theirs) {
  if (mine.size() != theirs.size())
    return "they have " + std::to_string(theirs.size()) + " bytes, the step makes " +
           std::to_string(mine.size());
  std::uint64_t count = 0;
  std::uint64_t first = 0;
  for (std::size_t at = update::kPackHeaderBytes; at + 4 <= mine.size(); at += 4) {
    if (std::memcmp(mine.data() + at, theirs.data() + at, 4) == 0) continue;
    if (count++ == 0) first = (at - update::kPackHeaderBytes) / 4;
  }
  if (count == 0) return "their header differs";
  return std::to_string(count) + " of " +
         std::to_string((mine.size() - update::kPackHeaderBytes) / 4) +
         " numbers differ, the first is number " + std::to_string(first);
}

}  // namespace

Result<TemporaryFolder> TemporaryFolder::make() {
  std::error_code error;
  std::string pattern = (fs::temp_directory_path(error) / "manyhands-verify-XXXXXX").string();
  if (error || ::mkdtemp(pattern.data()) == nullptr)
    return errno_error("cannot make a folder like", pattern, errno);
  return TemporaryFolder(pattern);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

void StepAudit::add(AuditFinding found, std::string problem) {
  found.problem = std::move(problem);
  findings_->push_back(std::move(found));
}

Result<bool> StepAudit::is_kept(std::uint64_t sequence) {
  v1::ListStepRecordsRequest request;
  request.set_job_id(job_);
  request.set_from_sequence(sequence);
  request.set_count_max(1);
  MH_TRY(const auto page,
         context_.call<v1::ListStepRecordsResponse>("JobService/ListStepRecords", request));
  return sequence >= page.retained_from();
}

Result<std::optional<fs::path>> StepAudit::fetch(const Digest& digest, std::uint64_t bytes_max,
                                                 AuditFinding place) {
  const fs::path path = folder_ / digest.hex();
  std::error_code ignored;
  if (fs::exists(path, ignored)) return std::optional(path);
  if (wrong_.contains(digest)) return std::optional<fs::path>();
  const Status done = context_.fetch_file(digest, path, bytes_max);
  if (done) return std::optional(path);
  const Error& error = done.error();
  if (error.code == Errc::kNotFound) {
    MH_TRY(const bool is_still_kept, is_kept(sequence_));
    is_gone_ = is_gone_ || !is_still_kept;
    if (is_gone_) return std::optional<fs::path>();
    add(std::move(place), "the server does not have it, and says that it keeps this step");
  } else if (error.code == Errc::kDataLoss) {
    add(std::move(place),
        "the server's bytes are not those of this digest (" + error.message + ")");
  } else if (error.code == Errc::kResourceExhausted && !fs::exists(path, ignored)) {
    add(std::move(place), error.message);
  } else {
    return error;
  }
  wrong_.insert(digest);
  return std::optional<fs::path>();
}

Result<bool> StepAudit::begin(const StepRecord& record) {
  MH_TRY(const auto parameters,
         fetch(record.parameters_before, kStateBytesMax,
               place_of(record, "parameters before it", record.parameters_before)));
  if (!parameters) return false;
  std::optional<fs::path> optimizer;
  if (!record.optimizer_before.is_zero()) {
    MH_TRY(optimizer,
           fetch(record.optimizer_before, kStateBytesMax,
                 place_of(record, "optimizer state before it", record.optimizer_before)));
    if (!optimizer) return false;
  }
  MH_TRY(const MappedFile parameters_file, MappedFile::open(*parameters));
  MappedFile optimizer_file;
  if (optimizer) {
    MH_TRY(optimizer_file, MappedFile::open(*optimizer));
  }
  const Status begun = replay_.begin(record.step, parameters_file.bytes(), optimizer_file.bytes());
  if (!begun)
    add(place_of(record, "state before it", record.parameters_before), begun.error().message);
  return begun.has_value();
}

Result<bool> StepAudit::add_updates(const StepRecord& record) {
  bool is_whole = true;
  for (std::size_t shard = 0; shard < record.updates.size() && !is_gone_; ++shard) {
    const RecordedUpdate& update = record.updates[shard];
    AuditFinding place = place_of(record, "update", update.digest);
    place.shard = shard;
    MH_TRY(const auto path, fetch(update.digest, replay_.update_bytes(), place));
    if (!path) {
      is_whole = false;
      continue;
    }
    MH_TRY(MappedFile file, MappedFile::open(*path));
    const Status added = add_update(std::move(file), update);
    if (!added) {
      add(std::move(place), added.error().message);
      is_whole = false;
    } else {
      MH_TRY_VOID(seen_({record, shard, *path, folder_ / record.parameters_before.hex()}));
    }
    ++update_count_;
    // The next update may be the same one: then it is there once more.
    std::error_code ignored;
    fs::remove(*path, ignored);
  }
  return is_whole && !is_gone_;
}

Status StepAudit::add_update(MappedFile file, const RecordedUpdate& update) {
  const std::uint64_t samples = update.end - update.begin;
  if (rule_.is_exact_mean()) return replay_.add(file.bytes(), samples);
  MH_TRY(const std::span<const float> values, replay_.read(file.bytes(), samples));
  sums_.push_back(values);
  hosts_.push_back(update.host);
  files_.push_back(std::move(file));
  return {};
}

Result<update::StepOutcome> StepAudit::take_step(const StepRecord& record) {
  if (rule_.is_exact_mean()) return replay_.finish();
  const robust::RecordedShards shards = {.step = record.step, .sums = sums_, .hosts = hosts_};
  const unsigned threads = std::max(1U, std::thread::hardware_concurrency());
  MH_TRY_VOID(robust::recorded_gradient(rule_, shards, replay_.gradient(), threads));
  return replay_.finish_with_gradient();
}

// What was computed against what the record says.
void StepAudit::compare(const StepRecord& record) {
  const auto outcome = take_step(record);
  if (!outcome) {
    add(place_of(record, "record", {}), "the step cannot be taken: " + outcome.error().message);
    return;
  }
  if (outcome->gradient_norm != record.gradient_norm)
    add(place_of(record, "gradient norm", {}),
        "the record says " + std::to_string(record.gradient_norm) + ", its updates make " +
            std::to_string(outcome->gradient_norm));
  struct Part {
    const char* what;
    const Digest& digest;
    std::span<const std::byte> mine;
  };
  const std::array parts{
      Part{"parameters after it", record.parameters_after, replay_.parameters()},
      Part{"optimizer state after it", record.optimizer_after, replay_.optimizer()}};
  for (const Part& part : parts) {
    const Digest made = part.mine.empty() ? Digest{} : sha256(part.mine);
    if (made == part.digest) continue;
    std::string problem = "the step's updates make " + made.hex();
    const auto theirs = MappedFile::open(folder_ / part.digest.hex());
    if (theirs) problem += ": " + difference(part.mine, theirs->bytes());
    add(place_of(record, part.what, part.digest), std::move(problem));
  }
}

Status StepAudit::fetch_outcome(const StepRecord& record) {
  MH_TRY_VOID(fetch(record.parameters_after, kStateBytesMax,
                    place_of(record, "parameters after it", record.parameters_after)));
  if (record.optimizer_after.is_zero()) return {};
  MH_TRY_VOID(fetch(record.optimizer_after, kStateBytesMax,
                    place_of(record, "optimizer state after it", record.optimizer_after)));
  return {};
}

// Only what the next step may start from stays.
void StepAudit::keep_only(const StepRecord& record) {
  sums_.clear();
  hosts_.clear();
  files_.clear();
  std::error_code ignored;
  for (const Digest& digest : {record.parameters_before, record.optimizer_before}) {
    if (digest != record.parameters_after && digest != record.optimizer_after)
      fs::remove(folder_ / digest.hex(), ignored);
  }
}

Result<StepAudit::Outcome> StepAudit::check(const StepRecord& record,
                                            std::vector<AuditFinding>& findings) {
  findings_ = &findings;
  sequence_ = record.sequence;
  is_gone_ = false;
  const std::size_t before = findings.size();
  MH_TRY(const bool has_begun, begin(record));
  bool is_whole = false;
  if (has_begun) {
    MH_TRY(is_whole, add_updates(record));
  }
  if (!is_gone_) MH_TRY_VOID(fetch_outcome(record));
  if (is_whole && !is_gone_) compare(record);
  keep_only(record);
  if (is_gone_) return Outcome::kGone;
  if (findings.size() > before || !is_whole) return Outcome::kWrong;
  return Outcome::kRight;
}

}  // namespace mh::cli
