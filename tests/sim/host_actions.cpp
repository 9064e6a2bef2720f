// See host.h. Here: what the core asks its shell to do, as client/daemon/daemon.cpp does it.
#include <algorithm>
#include <cmath>

#include "tests/sim/host.h"
#include "tests/sim/messages.h"

namespace mh::sim {
namespace {

// To verify a blob that lies on the disk.
constexpr milliseconds kVerification{5};

std::size_t slot(client::Channel channel) { return channel == client::Channel::kPoll ? 0 : 1; }

}  // namespace

// ---- Calls ----

void Host::act(const client::StartExchange& action) {
  CallMessage message;
  message.from = {profile_.index, life_};
  message.channel = action.channel;
  message.call = ++environment_.last_call;
  scheduler::HostDescription description;
  description.name = "host" + std::to_string(profile_.index);
  description.device = "cpu";
  message.event = to_event(action.call, *id_, description);
  message.hold = action.call.wait;
  distort(message.event);
  calls_[slot(action.channel)] = message.call;
  network_.send(std::move(message));
}

void Host::act(const client::CancelExchange& action) {
  std::uint64_t& call = calls_[slot(action.channel)];
  if (call == 0) return;
  Event gone;
  gone.kind = EventKind::kCallerGone;
  gone.host = profile_.index;
  gone.life = life_;
  gone.subject = call;
  environment_.events.schedule_in(
      milliseconds(static_cast<std::int64_t>(environment_.scenario.latency_ms)), gone);
  ReplyMessage cancelled;
  cancelled.channel = action.channel;
  cancelled.call = call;
  cancelled.reply = fail(Errc::kCanceled, "cancelled");
  schedule(EventKind::kReply, milliseconds(0), network_.replies.add(std::move(cancelled)));
}

void Host::replied(const Event& event) {
  const auto message = network_.replies.take(event.subject);
  std::uint64_t& call = calls_[slot(message->channel)];
  if (message->call != call) return;
  call = 0;
  if (!message->reply) {
    return perform(core_->exchange_failed(clock(), message->channel, message->reply.error()));
  }
  for (const client::Assignment& assignment : message->reply->assignments) {
    assignments_.emplace(assignment.result, assignment);
  }
  note_verdicts(*message->reply);
  perform(core_->exchange_done(clock(), message->channel, *message->reply));
}

// ---- Blobs ----

const client::ManifestChunks* Host::chunks_of(const Digest& manifest) const {
  for (const SimJob& job : environment_.jobs) {
    if (job.submission.manifest_digest == manifest) return &job.chunks;
  }
  return nullptr;
}

std::uint64_t Host::blob_bytes(const Digest& blob, client::BlobKind kind) const {
  constexpr std::uint64_t kSmallBlobBytes = 2'000;
  if (environment_.jobs.empty()) return kSmallBlobBytes;
  const SimJob& job = environment_.jobs.front();
  switch (kind) {
    case client::BlobKind::kParameters:
      for (const auto& [result, assignment] : assignments_) {
        if (assignment.parameters_digest != blob) continue;
        const SimJob* owner = environment_.job(assignment.job);
        return owner != nullptr ? owner->parameter_bytes : job.parameter_bytes;
      }
      return job.parameter_bytes;
    case client::BlobKind::kChunk:
      return job.chunks.begin()->second.front().bytes;
    case client::BlobKind::kManifest:
    case client::BlobKind::kJob:
      return kSmallBlobBytes;
  }
  return kSmallBlobBytes;
}

void Host::act(const client::StartDownload& action) {
  Transfer transfer;
  transfer.blob = action.digest;
  transfer.kind = action.kind;
  if (cache_.contains(action.digest)) {
    return schedule(EventKind::kDownloadEnd, kVerification, network_.transfers.add(transfer));
  }
  const std::uint64_t bytes = blob_bytes(action.digest, action.kind);
  environment_.counts.download_bytes += bytes;
  network_.transfer({profile_.index, life_}, EventKind::kDownloadEnd, bytes, transfer);
}

void Host::downloaded(const Event& event) {
  const Transfer transfer = *network_.transfers.take(event.subject);
  Status found;
  if (!cache_.contains(transfer.blob)) {
    found = transfer.arrives ? server_.find_blob(transfer.blob)
                             : Status(fail(Errc::kUnavailable, "the connection broke"));
  }
  if (!found) {
    if (found.error().code == Errc::kNotFound) check_missing(transfer.blob);
    return perform(core_->download_failed(clock(), transfer.blob, found.error()));
  }
  cache_.insert(transfer.blob);
  const client::ManifestChunks* chunks =
      transfer.kind == client::BlobKind::kManifest ? chunks_of(transfer.blob) : nullptr;
  perform(core_->download_done(clock(), transfer.blob, chunks));
}

// An input of a living lease must be there.
void Host::check_missing(const Digest& blob) const {
  for (const auto& [result, assignment] : assignments_) {
    const bool is_input = assignment.parameters_digest == blob || assignment.job_digest == blob ||
                          assignment.manifest_digest == blob;
    if (is_input && server_.account().is_live(result)) {
      throw Violation("blobs", "an input of result " + to_string(result) + ", which host " +
                                   to_string(*id_) + " computes, is gone");
    }
  }
}

void Host::act(const client::DropBlob& action) {
  if (core_->is_needed(action.digest)) throw Violation("client", "a blob in use is dropped");
  cache_.erase(action.digest);
}

void Host::act(const client::StartUpload& action) {
  if (!records_.contains(action.result)) {
    throw Violation("client", "result " + to_string(action.result) + " is uploaded unrecorded");
  }
  const std::uint64_t bytes = records_.at(action.result).update_bytes;
  environment_.counts.upload_bytes += bytes;
  Transfer transfer;
  transfer.blob = action.digest;
  transfer.result = action.result;
  transfer.is_wrong = wrong_blobs_.contains(action.digest);
  network_.transfer({profile_.index, life_}, EventKind::kUploadEnd, bytes, transfer);
}

void Host::uploaded(const Event& event) {
  const Transfer transfer = *network_.transfers.take(event.subject);
  const Status taken = transfer.arrives ? server_.take_upload(transfer.blob, transfer.is_wrong)
                                        : Status(fail(Errc::kUnavailable, "the connection broke"));
  if (!taken) return perform(core_->upload_failed(clock(), transfer.result, taken.error()));
  perform(core_->upload_done(clock(), transfer.result));
}

// ---- Records, log, end ----

void Host::act(const client::KeepRecord& action) {
  if (!records_.emplace(action.report.result, action.report).second) {
    throw Violation("client", "result " + to_string(action.report.result) + " is computed twice");
  }
}

void Host::act(const client::DropRecord& action) {
  const auto found = records_.find(action.result);
  if (found != records_.end()) {
    wrong_blobs_.erase(found->second.update_digest);
    records_.erase(found);
  }
  assignments_.erase(action.result);
}

void Host::act(const client::Log& action) {
  if (!environment_.trace.is_kept()) return;
  environment_.trace.add(environment_.events.now(),
                         "host " + std::to_string(profile_.index) + ": " + action.text);
}

void Host::act(const client::Exit&) {
  end_process();
  plan_return();
}

}  // namespace mh::sim
