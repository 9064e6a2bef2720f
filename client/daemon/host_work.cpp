// The life of a workunit on this host: inputs, trainer, upload, report, verdict.
// See host_core.h for the rules.
#include <algorithm>

#include "client/daemon/host_core.h"
#include "proto/base/probe.h"

namespace mh::client {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kClosedCountMax = 1024;
// The server never gives more than was asked for; this is against one that does.
constexpr std::size_t kWorkCountMax = 64;

bool is_passing(Errc code) {
  return code == Errc::kUnavailable || code == Errc::kDeadlineExceeded || code == Errc::kCanceled;
}

std::string short_name(const Digest& digest) { return digest.hex().substr(0, 12); }

std::string_view blob_name(BlobKind kind) {
  switch (kind) {
    case BlobKind::kJob:
      return "job description";
    case BlobKind::kParameters:
      return "parameters";
    case BlobKind::kManifest:
      return "data set manifest";
    case BlobKind::kChunk:
      return "data chunk";
  }
  return "blob";
}

}  // namespace

std::string_view work_state_name(WorkState state) {
  switch (state) {
    case WorkState::kDownloading:
      return "downloading";
    case WorkState::kReady:
      return "ready";
    case WorkState::kComputing:
      return "computing";
    case WorkState::kUploading:
      return "uploading";
    case WorkState::kReporting:
      return "reporting";
  }
  return "unknown";
}

// --- From the assignment to the trainer. ---

void HostCore::take(const Assignment& assignment) {
  const ResultId result = assignment.result;
  if (work_.contains(result) || std::find(closed_.begin(), closed_.end(), result) != closed_.end())
    return;
  Work& work = work_[result];
  work.assignment = assignment;
  order_.push_back(result);
  if (!assignment.problem.empty()) {
    ++failed_count_;
    return give_up(work, Outcome::kFailed, assignment.problem);
  }
  if (!accepts_work())
    return give_up(work, Outcome::kReturned,
                   is_paused_ ? "the client is paused" : "the client takes no new work");
  if (uncomputed_count() > kWorkCountMax)
    return give_up(work, Outcome::kReturned, "more workunits than were asked for");
  find_inputs(work);
  note_parameters(assignment.parameters_digest);
}

// Lists the blobs that the workunit needs; the chunks when the manifest is known.
void HostCore::find_inputs(Work& work) {
  const Assignment& assignment = work.assignment;
  if (work.inputs.empty())
    work.inputs = {{assignment.parameters_digest, BlobKind::kParameters},
                   {assignment.job_digest, BlobKind::kJob},
                   {assignment.manifest_digest, BlobKind::kManifest}};
  const auto manifest = manifests_.find(assignment.manifest_digest);
  if (manifest == manifests_.end() || work.has_all_inputs) return;
  const auto split = manifest->second.find(assignment.split);
  if (split == manifest->second.end())
    return give_up(work, Outcome::kFailed, "the data set has no split '" + assignment.split + "'");
  const std::vector<ManifestChunk>& chunks = split->second;
  if (assignment.chunk_indices.empty()) {
    for (const ManifestChunk& chunk : chunks)
      work.inputs.emplace_back(chunk.digest, BlobKind::kChunk);
  }
  for (const std::uint32_t index : assignment.chunk_indices) {
    if (index >= chunks.size())
      return give_up(work, Outcome::kFailed,
                     "chunk " + std::to_string(index) + " of split '" + assignment.split +
                         "' does not exist: it has " + std::to_string(chunks.size()));
    work.inputs.emplace_back(chunks[index].digest, BlobKind::kChunk);
  }
  work.has_all_inputs = true;
}

void HostCore::advance_work(TimePoint now) {
  std::uint32_t computing_count = 0;
  for (const auto& [result, work] : work_) computing_count += work.state == WorkState::kComputing;
  bool is_changing = false;
  for (const ResultId result : std::deque<ResultId>(order_)) {
    Work& work = work_.at(result);
    if (work.state == WorkState::kDownloading) advance_inputs(now, work);
    if (work.state == WorkState::kReady && trainer_state_ == TrainerState::kReady &&
        computing_count < options_.queue_length && !is_changing) {
      is_changing = work.assignment.is_pinned != trainer_is_pinned_;
      if (is_changing && computing_count == 0) change_trainer(work.assignment.is_pinned);
      if (is_changing) continue;
      work.state = WorkState::kComputing;
      ++computing_count;
      std::vector<Digest> inputs;
      for (const auto& [digest, kind] : work.inputs) inputs.push_back(digest);
      actions_.push_back(SendCompute{work.assignment, std::move(inputs)});
    }
  }
  std::erase_if(fetches_, [this](const auto& item) {
    return !item.second.is_under_way && !is_needed(item.first);
  });
}

void HostCore::advance_inputs(TimePoint now, Work& work) {
  find_inputs(work);
  if (work.state != WorkState::kDownloading) return;
  bool is_complete = work.has_all_inputs;
  for (const auto& [digest, kind] : work.inputs) {
    if (cached_.contains(digest)) continue;
    is_complete = false;
    Fetch& fetch = fetches_[digest];
    fetch.kind = kind;
    if (fetch.is_under_way || is_server_away_ || !is_due(now, fetch.retry_at)) continue;
    fetch.is_under_way = true;
    actions_.push_back(StartDownload{digest, kind});
  }
  if (is_complete) work.state = WorkState::kReady;
}

Actions HostCore::download_done(TimePoint now, const Digest& digest,
                                const ManifestChunks* manifest) {
  now = steady(now);
  fetches_.erase(digest);
  present_.erase(digest);
  cached_.insert(digest);
  if (manifest != nullptr) manifests_[digest] = *manifest;
  return settle(now);
}

Actions HostCore::download_failed(TimePoint now, const Digest& digest, const Error& error) {
  now = steady(now);
  present_.erase(digest);
  const auto found = fetches_.find(digest);
  if (found == fetches_.end() || mode_ == Mode::kExited) return settle(now);
  Fetch& fetch = found->second;
  fetch.is_under_way = false;
  fetch.retry_at = now + transfer_wait(++fetch.failure_count);
  if (is_passing(error.code)) return settle(now);
  const bool is_final = error.code == Errc::kNotFound || error.code == Errc::kResourceExhausted;
  if (!is_final && ++fetch.attempt_count < options_.attempt_count_max) return settle(now);
  const std::string problem = std::string(blob_name(fetch.kind)) + " " + short_name(digest) +
                              " cannot be had: " + error.message;
  fetches_.erase(found);
  if (error.code != Errc::kNotFound) log(Severity::kWarning, problem);
  for (const ResultId result : std::deque<ResultId>(order_)) {
    Work& work = work_.at(result);
    if (work.state == WorkState::kDownloading && uses(work, digest))
      give_up(work, Outcome::kReturned, problem);
  }
  MH_PROBE("client: an input cannot be had");
  // The parameters of a step that is over are nobody's fault; all else would repeat itself.
  if (error.code != Errc::kNotFound) ask_not_before_ = now + std::chrono::seconds(30);
  return settle(now);
}

Actions HostCore::inputs_lost(TimePoint now, ResultId result, const std::vector<Digest>& inputs) {
  now = steady(now);
  for (const Digest& digest : inputs) {
    log(Severity::kWarning,
        "blob " + short_name(digest) + " is gone from the cache: fetching it again");
    blob_evicted(digest);
  }
  const auto found = work_.find(result);
  if (found != work_.end() && found->second.state == WorkState::kComputing)
    found->second.state = WorkState::kDownloading;
  return settle(now);
}

void HostCore::add_manifest(const Digest& digest, ManifestChunks chunks) {
  manifests_[digest] = std::move(chunks);
  cached_.insert(digest);
}

void HostCore::blob_evicted(const Digest& digest) {
  cached_.erase(digest);
  present_.erase(digest);
}

bool HostCore::uses(const Work& work, const Digest& digest) const {
  return std::any_of(work.inputs.begin(), work.inputs.end(),
                     [&](const auto& input) { return input.first == digest; });
}

bool HostCore::is_needed(const Digest& digest) const {
  return std::any_of(work_.begin(), work_.end(), [&](const auto& item) {
    return item.second.state < WorkState::kUploading && uses(item.second, digest);
  });
}

// Keeps the newest parameters, drops the oldest that no workunit at hand uses.
void HostCore::note_parameters(const Digest& digest) {
  std::erase(recent_parameters_, digest);
  recent_parameters_.push_back(digest);
  while (recent_parameters_.size() > options_.parameters_kept &&
         !is_needed(recent_parameters_.front())) {
    const Digest oldest = recent_parameters_.front();
    recent_parameters_.pop_front();
    if (cached_.erase(oldest) > 0) actions_.push_back(DropBlob{oldest});
  }
}

// --- From the trainer to the verdict. ---

Actions HostCore::trainer_progress(ResultId result, std::uint64_t samples_done) {
  if (const auto found = work_.find(result); found != work_.end())
    found->second.samples_done = samples_done;
  return {};
}

Actions HostCore::trainer_done(TimePoint now, const TrainerDone& done) {
  now = steady(now);
  const auto found = work_.find(done.result);
  if (found == work_.end() || found->second.state != WorkState::kComputing) {
    MH_PROBE("client: a result is computed that nobody wants any more");
    // Revoked or returned meanwhile. A record that is being delivered keeps its file.
    if (found == work_.end()) actions_.push_back(DropRecord{done.result});
    return settle(now);
  }
  Work& work = found->second;
  trainer_backoff_.reset();
  failure_backoff_.reset();
  const bool is_gradient = work.assignment.kind == WorkKind::kGradient;
  work.report = {.result = done.result,
                 .outcome = Outcome::kSuccess,
                 .update_digest = is_gradient ? done.update_digest : Digest{},
                 .update_bytes = is_gradient ? done.update_bytes : 0,
                 .loss_sum = done.loss_sum,
                 .correct_count = done.correct_count,
                 .compute_ms = done.compute_ms,
                 .error = {},
                 .finished = now};
  work.state = is_gradient ? WorkState::kUploading : WorkState::kReporting;
  work.attempt_count = 0;
  actions_.push_back(KeepRecord{work.report});
  return settle(now);
}

Actions HostCore::trainer_failed(TimePoint now, ResultId result, std::string error) {
  now = steady(now);
  const auto found = work_.find(result);
  if (found == work_.end() || found->second.state != WorkState::kComputing) return settle(now);
  log(Severity::kWarning, "result " + to_string(result) + " failed: " + error);
  ++failed_count_;
  found->second.state = WorkState::kReady;  // It is no longer with the trainer.
  give_up(found->second, Outcome::kFailed, std::move(error));
  ask_not_before_ = now + failure_backoff_.next();
  return settle(now);
}

// Tells the server that the result will not come (or not from here).
void HostCore::give_up(Work& work, Outcome outcome, std::string error) {
  constexpr std::size_t kErrorBytesMax = 500;
  const ResultId result = work.assignment.result;
  if (work.state == WorkState::kComputing) actions_.push_back(SendCancel{result});
  if (error.size() > kErrorBytesMax) {
    error.resize(kErrorBytesMax);
    while (!error.empty() && (static_cast<unsigned char>(error.back()) & 0x80) != 0)
      error.pop_back();
  }
  work.report = {};
  work.report.result = result;
  work.report.outcome = outcome;
  work.report.error = std::move(error);
  work.state = WorkState::kReporting;
  work.attempt_count = 0;
  work.retry_at = TimePoint{};
}

void HostCore::judge(const Verdict& verdict) {
  const auto found = work_.find(verdict.result);
  if (found == work_.end() || found->second.state != WorkState::kReporting) return;
  const std::string name = "result " + to_string(verdict.result);
  const bool was_success = found->second.report.outcome == Outcome::kSuccess;
  switch (verdict.kind) {
    case VerdictKind::kValid:
      ++valid_count_;
      break;
    case VerdictKind::kRejected:
      ++rejected_count_;
      log(Severity::kWarning, name + " was rejected: " + verdict.reason);
      break;
    case VerdictKind::kTooLate:
      if (was_success)
        log(Severity::kInfo, name + " came too late: another host had finished the workunit");
      break;
    case VerdictKind::kUnknown:
      if (was_success)
        log(Severity::kWarning, name + " is not known to the server" +
                                    (verdict.reason.empty() ? "" : ": " + verdict.reason));
      break;
    case VerdictKind::kPending:
      ++pending_count_;
      break;
    case VerdictKind::kNoted:
      break;
  }
  forget(verdict.result);
}

// The lease is gone. What is already on its way to the server gets its verdict there.
void HostCore::revoke(ResultId result) {
  const auto found = work_.find(result);
  if (found == work_.end() || found->second.state == WorkState::kReporting) return;
  if (found->second.state == WorkState::kComputing) actions_.push_back(SendCancel{result});
  log(Severity::kInfo, "result " + to_string(result) +
                           " is no longer wanted: its workunit is finished or its job ended");
  forget(result);
}

void HostCore::forget(ResultId result) {
  actions_.push_back(DropRecord{result});
  work_.erase(result);
  std::erase(order_, result);
  closed_.push_back(result);
  if (closed_.size() > kClosedCountMax) closed_.pop_front();
}

}  // namespace mh::client
