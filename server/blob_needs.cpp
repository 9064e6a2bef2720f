// See blob_needs.h.
#include "server/blob_needs.h"

#include <unordered_map>
#include <utility>

#include "proto/base/bytes.h"
#include "proto/base/dataset_manifest.h"
#include "proto/base/step_record.h"
#include "server/blob_folder.h"
#include "server/blob_store.h"

namespace mh::server {
namespace {

using scheduler::JobRow;
using scheduler::JobState;

class Gatherer {
 public:
  Gatherer(const ServerSnapshot& snapshot, std::filesystem::path folder)
      : snapshot_(snapshot), folder_(std::move(folder)) {}

  BlobNeeds run() {
    for (const DatasetRow& row : snapshot_.datasets) add_dataset(row);
    for (const JobRow& row : snapshot_.scheduler.jobs) add_job(row);
    for (const scheduler::CheckpointRow& row : snapshot_.scheduler.checkpoints) add_checkpoint(row);
    for (const scheduler::StepRecordRow& row : snapshot_.scheduler.records) add_retained(row);
    add_updates();
    return std::move(needs_);
  }

 private:
  void add(const Digest& blob, BlobNeed need) {
    if (!blob.is_zero()) needs_.blobs[blob].push_back(std::move(need));
  }

  void add_dataset(const DatasetRow& row) {
    BlobNeed need;
    need.dataset = row.name;
    add(row.manifest, need);
    const auto manifest = read_manifest(row.manifest);
    if (!manifest) {
      needs_.unread_datasets.push_back(row.name);
      return;
    }
    need.use = BlobUse::kChunk;
    for (const auto& [name, split] : manifest->splits) {
      for (const ChunkInfo& chunk : split.chunks) {
        need.bytes = chunk.bytes;
        add(chunk.digest, need);
      }
    }
  }

  // A manifest with other bytes than its name says is as good as none.
  Result<DatasetManifest> read_manifest(const Digest& digest) const {
    MH_TRY(const OpenBlob blob, find_blob(folder_, digest));
    if (blob.bytes > kManifestBytesMax) return fail(Errc::kDataLoss, "too large");
    std::vector<std::byte> bytes(blob.bytes);
    MH_TRY_VOID(read_fully(blob.file.get(), 0, bytes, blob_place(folder_, digest)));
    if (sha256(bytes) != digest) return fail(Errc::kDataLoss, "damaged");
    return parse_manifest(as_text(bytes));
  }

  void add_job(const JobRow& row) {
    const bool is_live = row.state == JobState::kRunning || row.state == JobState::kPaused;
    jobs_[row.id] = &row;
    BlobNeed need;
    need.job = row.id;
    need.step = row.step;
    need.is_live = is_live;
    need.use = BlobUse::kJobFile;
    add(row.job_digest, need);
    need.use = BlobUse::kJobManifest;
    add(row.manifest_digest, need);
    need.use = BlobUse::kOptimizerState;
    add(row.optimizer_digest, need);
  }

  void add_checkpoint(const scheduler::CheckpointRow& row) {
    const auto job = jobs_.find(row.job);
    const bool is_present = job != jobs_.end() && job->second->step == row.step;
    BlobNeed need;
    need.use = is_present ? BlobUse::kParameters : BlobUse::kCheckpoint;
    need.job = row.job;
    need.step = row.step;
    need.is_live = is_present && job->second->state != JobState::kFinished &&
                   job->second->state != JobState::kCancelled &&
                   job->second->state != JobState::kFailed;
    add(row.parameters_digest, need);
  }

  // One that cannot be read keeps nothing (scheduler/step_records.h).
  void add_retained(const scheduler::StepRecordRow& row) {
    const auto record = parse_step_record(row.record);
    if (!record) return;
    BlobNeed need;
    need.use = BlobUse::kRetained;
    need.job = row.job;
    need.step = row.step;
    for (const Digest& blob : {record->parameters_before, record->optimizer_before,
                               record->parameters_after, record->optimizer_after}) {
      add(blob, need);
    }
    for (const RecordedUpdate& update : record->updates) add(update.digest, need);
  }

  // Of workunits that a coordinator goes on with; the snapshot holds older results, too.
  void add_updates() {
    std::unordered_map<WorkunitId, std::uint64_t> living;
    for (const auto& row : snapshot_.scheduler.workunits) living[row.id] = row.step;
    for (const scheduler::ResultRow& row : snapshot_.scheduler.results) {
      const auto workunit = living.find(row.workunit);
      if (row.state != scheduler::ResultState::kValid || workunit == living.end()) continue;
      BlobNeed need;
      need.use = BlobUse::kUpdate;
      need.job = row.job;
      need.step = workunit->second;
      need.result = row.id;
      need.is_live = true;
      need.bytes = row.update_bytes;
      add(row.update_digest, need);
    }
  }

  const ServerSnapshot& snapshot_;
  const std::filesystem::path folder_;
  std::unordered_map<JobId, const JobRow*> jobs_;
  BlobNeeds needs_;
};

}  // namespace

BlobNeeds blob_needs(const ServerSnapshot& snapshot, const std::filesystem::path& blob_folder) {
  return Gatherer(snapshot, blob_folder).run();
}

std::string describe(const BlobNeed& need) {
  const std::string of_job = " of job " + to_string(need.job);
  const std::string of_dataset = " of data set \"" + need.dataset + "\"";
  const std::string after = " after step " + std::to_string(need.step);
  switch (need.use) {
    case BlobUse::kManifest:
      return "manifest" + of_dataset;
    case BlobUse::kChunk:
      return "chunk" + of_dataset;
    case BlobUse::kJobFile:
      return "specification" + of_job;
    case BlobUse::kJobManifest:
      return "manifest" + of_job;
    case BlobUse::kParameters:
    case BlobUse::kCheckpoint:
      return "parameters" + after + of_job;
    case BlobUse::kOptimizerState:
      return "optimizer state" + after + of_job;
    case BlobUse::kUpdate:
      return "update of result " + to_string(need.result) + " for step " +
             std::to_string(need.step) + of_job;
    case BlobUse::kRetained:
      return "blob kept of step " + std::to_string(need.step) + of_job;
  }
  return "blob";
}

}  // namespace mh::server
