// The values that go in and out of the host core (host_core.h): what the server assigned, what
// became of it, and what the shell is asked to do. Plain structs, no I/O; wire.h turns messages
// into them and back.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "proto/base/clock.h"
#include "proto/base/ids.h"
#include "proto/base/result.h"
#include "proto/base/sha256.h"

namespace mh::client {

enum class WorkKind { kGradient, kEvaluation };

/// One workunit leased to this host as one result.
struct Assignment {
  ResultId result;
  WorkunitId workunit;
  JobId job;
  WorkKind kind = WorkKind::kGradient;
  std::uint64_t step = 0;
  Digest job_digest;
  Digest parameters_digest;
  Digest manifest_digest;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::string split;
  std::vector<std::uint32_t> chunk_indices;
  std::chrono::milliseconds lease{0};
  std::string job_name;
  /// To be computed by a trainer with pinned numerics.
  bool is_pinned = false;
  /// Why it cannot be computed at all (a malformed message); empty: it can.
  std::string problem;
};

enum class Outcome { kSuccess, kFailed, kReturned };

/// What became of a result; told to the server until it answers with a verdict.
struct Report {
  ResultId result;
  Outcome outcome = Outcome::kReturned;
  /// Gradients that succeeded: the uploaded update.
  Digest update_digest;
  std::uint64_t update_bytes = 0;
  double loss_sum = 0;
  std::uint64_t correct_count = 0;
  std::uint64_t compute_ms = 0;
  std::string error;
  /// When it was computed, by this computer's clock. Stays here: it decides how long an undelivered
  /// result is kept, nothing else.
  TimePoint finished{};
};

/// kPending: taken; it counts when another host's result agrees.
enum class VerdictKind { kValid, kRejected, kTooLate, kUnknown, kNoted, kPending };

struct Verdict {
  ResultId result;
  VerdictKind kind = VerdictKind::kUnknown;
  std::string reason;
  double credit = 0;
};

/// Chunk digests of each split, by index: what the core needs to know of a manifest.
struct ManifestChunk {
  Digest digest;
  std::uint64_t bytes = 0;
};
using ManifestChunks = std::map<std::string, std::vector<ManifestChunk>>;

/// Two calls of Exchange may be on their way at once, each on its own connection: the poll asks
/// for work and may be parked by the server, the report must never wait behind it.
enum class Channel { kPoll, kReport };

struct DatasetHolding {
  Digest manifest;
  std::uint32_t chunk_count = 0;
};

struct ExchangeCall {
  std::vector<Report> reports;
  std::vector<ResultId> held;
  std::uint32_t wanted = 0;
  std::chrono::milliseconds wait{0};
  std::vector<DatasetHolding> holdings;
  /// Tell the server what this host is (device, threads).
  bool with_description = false;
};

struct ExchangeReply {
  std::vector<Verdict> verdicts;
  std::vector<Assignment> assignments;
  std::vector<ResultId> revoked;
  std::chrono::milliseconds backoff{0};
  std::string no_work_reason;
  /// Of this host at the server, GFLOP: granted, and held back until a check passes.
  double credit = 0;
  double credit_held = 0;
  /// What the owner should know of its results; usually empty.
  std::string notice;
};

/// What the trainer says of a result it computed.
struct TrainerDone {
  ResultId result;
  double loss_sum = 0;
  std::uint64_t correct_count = 0;
  std::uint64_t compute_ms = 0;
  std::uint64_t update_bytes = 0;
  Digest update_digest;
};

struct TrainerReady {
  std::string device;
  std::string device_model;
  std::uint32_t threads = 0;
  /// Why the device is not the one wished for; may be empty.
  std::string note;
};

enum class BlobKind { kJob, kParameters, kManifest, kChunk };

// --- Actions: what the shell carries out, in order. ---

struct StartExchange {
  Channel channel = Channel::kPoll;
  ExchangeCall call;
};
/// Drop the connection of a parked poll; its end is reported as an error of kCanceled.
struct CancelExchange {
  Channel channel = Channel::kPoll;
};
struct StartDownload {
  Digest digest;
  BlobKind kind = BlobKind::kChunk;
};
/// The blob is not needed soon again: remove it from the cache.
struct DropBlob {
  Digest digest;
};
struct StartTrainer {
  /// With pinned numerics (proto/base/numerics.h).
  bool is_pinned = false;
};
/// Ends the process at once; its end is not reported as an event.
struct StopTrainer {};
struct SendCompute {
  Assignment assignment;
  /// The blobs it reads: most recently used from now on.
  std::vector<Digest> inputs;
};
struct SendCancel {
  ResultId result;
};
/// Keep the report on disk, so that a client that is killed still delivers it.
struct KeepRecord {
  Report report;
};
/// Forget record and update file.
struct DropRecord {
  ResultId result;
};
struct StartUpload {
  ResultId result;
  Digest digest;
};
enum class Severity { kInfo, kWarning, kError };
struct Log {
  Severity severity = Severity::kInfo;
  std::string text;
};
/// Nothing is left to do: leave the event loop.
struct Exit {};

using Action =
    std::variant<StartExchange, CancelExchange, StartDownload, DropBlob, StartTrainer, StopTrainer,
                 SendCompute, SendCancel, KeepRecord, DropRecord, StartUpload, Log, Exit>;
using Actions = std::vector<Action>;

}  // namespace mh::client
