// See step_records.h.
#include "scheduler/step_records.h"

#include <algorithm>
#include <map>

#include "proto/base/check.h"
#include "proto/base/step_record.h"

namespace mh::scheduler {
namespace {

// What a small file takes on the disk, and about what a blob costs in memory.
constexpr std::uint64_t kBlobBytesMin = 4'096;

RetainedStep retained_step(const StepRecord& record, std::uint64_t blob_bytes) {
  RetainedStep step;
  step.sequence = record.sequence;
  step.step = record.step;
  step.kind = record.kind;
  step.parameters_before = record.parameters_before;
  step.optimizer_before = record.optimizer_before;
  step.finished = from_unix_ms(record.time_ms);
  step.blob_bytes = blob_bytes;
  for (const RecordedUpdate& update : record.updates) step.blobs.push_back(update.digest);
  for (const Digest& blob : {record.parameters_before, record.optimizer_before,
                             record.parameters_after, record.optimizer_after}) {
    if (!blob.is_zero()) step.blobs.push_back(blob);
  }
  return step;
}

void retain(State& state, JobEntry& job, RetainedStep step) {
  for (const Digest& blob : step.blobs) state.blobs.add(blob);
  state.retained_bytes += step.blob_bytes;
  job.retained.push_back(std::move(step));
}

// The job whose oldest kept record is the oldest of all; null: nothing is kept.
JobEntry* oldest_retainer(State& state) {
  JobEntry* oldest = nullptr;
  for (auto& [id, job] : state.jobs) {
    if (job.retained.empty()) continue;
    if (oldest == nullptr || job.retained.front().finished < oldest->retained.front().finished) {
      oldest = &job;
    }
  }
  return oldest;
}

}  // namespace

void record_step(State& state, JobEntry& job, const RecordedStep& step) {
  const StepRow& row = step.row;
  const StepOutput& output = step.output;
  StepRecord record;
  record.kind = step.kind;
  record.reason = step.reason;
  record.job = job.row.id;
  record.job_digest = job.row.job_digest;
  record.sequence = job.row.record_count;
  record.previous = job.row.record_digest;
  record.step = row.step;
  record.parameters_before = step.parameters_before;
  record.parameters_after = output.parameters_digest;
  record.optimizer_before = step.optimizer_before;
  record.optimizer_after = output.optimizer_digest;
  record.rule = output.rule;
  record.sample_count = row.sample_count;
  record.loss = row.loss;
  record.accuracy = row.accuracy;
  record.gradient_norm = row.gradient_norm;
  record.learning_rate = row.learning_rate;
  record.time_ms = to_unix_ms(row.finished);
  std::uint64_t bytes = std::max(output.state_bytes, kBlobBytesMin);
  // A step may have many more shards than hosts.
  std::map<HostId, std::string> pseudonyms;
  for (const CountedShard& shard : step.shards) {
    const WorkunitRow& workunit = *shard.workunit;
    const ResultRow& result = *shard.result;
    std::string& host = pseudonyms[result.host];
    if (host.empty())
      host = host_pseudonym(state.options.pseudonym_secret, job.row.id, result.host);
    record.updates.push_back({workunit.begin, workunit.end, result.update_digest, host});
    bytes += std::max(result.update_bytes, kBlobBytesMin);
  }
  StepRecordRow stored;
  stored.job = job.row.id;
  stored.sequence = record.sequence;
  stored.step = record.step;
  stored.record = to_json(record);
  stored.digest = sha256(stored.record);
  stored.blob_bytes = bytes;
  ++job.row.record_count;
  job.row.record_digest = stored.digest;
  retain(state, job, retained_step(record, bytes));
  state.store(std::move(stored));
  state.changed(job);
}

void restore_retained(State& state, const StepRecordRow& row) {
  JobEntry& job = state.job(row.job);
  RetainedStep step;
  if (const auto record = parse_step_record(row.record)) {
    step = retained_step(*record, row.blob_bytes);
  }
  step.sequence = row.sequence;
  step.blob_bytes = row.blob_bytes;
  retain(state, job, std::move(step));
}

void limit_retained(State& state, JobEntry& job) {
  while (job.retained.size() > state.options.steps_retained) release_oldest(state, job);
  while (state.retained_bytes > state.options.retained_bytes_max) {
    JobEntry* oldest = oldest_retainer(state);
    MH_CHECK(oldest != nullptr);
    release_oldest(state, *oldest);
  }
}

void release_oldest(State& state, JobEntry& job) {
  const RetainedStep& oldest = job.retained.front();
  for (const Digest& blob : oldest.blobs) state.release(blob);
  state.retained_bytes -= oldest.blob_bytes;
  job.row.retained_from = oldest.sequence + 1;
  job.retained.pop_front();
  state.changed(job);
}

}  // namespace mh::scheduler
