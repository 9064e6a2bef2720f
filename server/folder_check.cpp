// See folder_check.h.
#include "server/folder_check.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <exception>
#include <thread>
#include <utility>

#include "scheduler/coordinator.h"
#include "server/progress.h"
#include "server/server_folder.h"
#include "server/sqlite_rows.h"
#include "server/sqlite_schema.h"
#include "server/sqlite_whole.h"

namespace mh::server {
namespace {

// How often something that is missing is looked for again, and the pause before.
constexpr int kSecondLooks = 3;
constexpr std::chrono::milliseconds kSecondLookPause{200};
constexpr std::size_t kComplaintBytesMax = 4096;

// What is wrong with one blob; empty: nothing.
struct BlobFault {
  Digest digest;
  bool is_missing = false;
  std::string what;
};

std::string how_to_restore(const std::filesystem::path& place) {
  return "copy it from a backup to " + place.string() +
         " (any backup that has a file of this name has the right one)";
}

// What it means that a blob is gone, and what brings it back.
std::string advice_for(const BlobNeed& need, const std::filesystem::path& place, bool is_missing) {
  const std::string again = "cancel job " + to_string(need.job) + " and submit it again";
  const std::string restore = how_to_restore(place);
  switch (need.use) {
    case BlobUse::kChunk:
      return (is_missing ? "" : "delete " + place.string() + ", then ") +
             std::string("import the files of \"") + need.dataset +
             "\" again with the same options ('manyhands dataset import " + need.dataset +
             " ...' uploads what is missing); or " + restore;
    case BlobUse::kManifest:
      return "the server does not start without it: " + restore +
             "; or import the same files with 'manyhands dataset import " + need.dataset +
             " --to-dir DIR' and copy DIR/manifest.json there";
    case BlobUse::kJobFile:
    case BlobUse::kJobManifest:
      if (!need.is_live) return "models of this job cannot be downloaded: " + restore;
      return "the job cannot go on: " + restore + "; or " + again;
    case BlobUse::kParameters:
      if (!need.is_live) return "the job's last model cannot be downloaded: " + restore;
      return "the job cannot go on: " + restore + "; or " + again;
    case BlobUse::kCheckpoint:
      return "only this checkpoint is lost, the job is not: " + restore;
    case BlobUse::kOptimizerState:
    case BlobUse::kUpdate:
      return "the step cannot be finished: " + restore + "; or " + again;
    case BlobUse::kRetained:
      return "no job needs it, but nobody can check this step any more, nor take it back: " +
             restore;
  }
  return restore;
}

class Checker {
 public:
  Checker(std::filesystem::path folder, const CheckOptions& options, TimePoint now)
      : folder_{std::move(folder)}, options_(options), now_(now) {}

  Result<CheckReport> run() {
    MH_TRY(Database database, open_database());
    report_.is_running = is_server_running(folder_.root);
    MH_TRY_VOID(database.execute("BEGIN"));
    Status looked = look_at_database(database);
    MH_TRY_VOID(database.execute("COMMIT"));
    MH_TRY_VOID(looked);
    if (!has_snapshot_) return std::move(report_);
    const BlobNeeds needs = blob_needs(snapshot_, folder_.blobs());
    snapshot_ = {};
    MH_TRY_VOID(look_at_blobs(database, needs));
    MH_TRY_VOID(look_for_orphans(database, needs));
    return std::move(report_);
  }

 private:
  Result<Database> open_database() {
    std::error_code ignored;
    if (!std::filesystem::exists(folder_.database(), ignored)) {
      return fail(Errc::kNotFound, folder_.root.string() + " is no server's folder");
    }
    MH_TRY(Database database, Database::open(folder_.database(), Database::Mode::kReadOnly));
    MH_TRY_VOID(require_schema(database));
    MH_TRY(report_.schema_version, schema_version(database));
    return database;
  }

  void add(std::string kind, std::string what, std::string advice) {
    report_.damage.push_back({std::move(kind), std::move(what), std::move(advice)});
  }

  Status look_at_database(Database& database) {
    const std::string restore = "restore the folder from a backup";
    MH_TRY(const auto damage, damage_of(database, options_.is_quick));
    for (const std::string& text : damage) add("database", text, restore);
    auto snapshot = read_snapshot_in_transaction(database);
    if (!snapshot) {
      add("database", snapshot.error().message, restore);
      return {};
    }
    snapshot_ = *std::move(snapshot);
    has_snapshot_ = true;
    report_.job_count = snapshot_.scheduler.jobs.size();
    report_.host_count = snapshot_.scheduler.hosts.size();
    MH_TRY(const auto miscounts, miscounts_of(database));
    if (!options_.is_quick) {
      MH_TRY(const auto faults, record_faults_of(database));
      for (const std::string& text : faults) {
        add("step records", text, "'manyhands verify' will fail for this job: " + restore);
      }
    }
    for (const std::string& text : miscounts) {
      add("counting", text,
          "a defect of this program or of the disk: keep a copy of the folder, "
          "report it, " +
              restore);
    }
    const std::string complaint = coordinator_complaint(snapshot_.scheduler);
    if (!complaint.empty()) {
      add("coordinator", complaint,
          "the server may stop at its start: keep a copy of the folder, "
          "report it, " +
              restore);
    }
    return {};
  }

  Result<std::optional<BlobFault>> look_at_blob(const Digest& digest,
                                                const std::optional<std::uint64_t>& bytes,
                                                Progress* progress) {
    BlobFault fault;
    fault.digest = digest;
    const auto blob = find_blob(folder_.blobs(), digest);
    if (!blob && blob.error().code == Errc::kNotFound) {
      fault.is_missing = true;
      fault.what = "is missing";
      return std::optional(fault);
    }
    if (!blob) return blob.error();
    if (bytes && blob->bytes != *bytes) {
      fault.what =
          "has " + std::to_string(blob->bytes) + " bytes instead of " + std::to_string(*bytes);
      return std::optional(fault);
    }
    report_.blob_bytes += blob->bytes;
    if (options_.is_quick) return std::optional<BlobFault>();
    const auto read = [progress](std::uint64_t count) {
      if (progress != nullptr) progress->add(count);
    };
    MH_TRY(const Digest found, hash_file(blob->file, blob_place(folder_.blobs(), digest), read));
    ++report_.hashed_count;
    if (found == digest) return std::optional<BlobFault>();
    fault.what = "has other bytes than its name says (their SHA-256 is " + found.hex() + ")";
    return std::optional(fault);
  }

  std::uint64_t bytes_of(const BlobNeeds& needs) const {
    std::uint64_t all = 0;
    for (const auto& [digest, uses] : needs.blobs) {
      if (const auto blob = find_blob(folder_.blobs(), digest)) all += blob->bytes;
    }
    return all;
  }

  Status look_at_blobs(Database& database, const BlobNeeds& needs) {
    report_.blob_count = needs.blobs.size();
    std::optional<Progress> progress;
    if (options_.shows_progress && !options_.is_quick) {
      progress.emplace("checking blobs", true, bytes_of(needs));
    }
    std::vector<BlobFault> faults;
    for (const auto& [digest, uses] : needs.blobs) {
      std::optional<std::uint64_t> bytes;
      for (const BlobNeed& use : uses) {
        if (use.bytes) bytes = use.bytes;
      }
      MH_TRY(const auto fault, look_at_blob(digest, bytes, progress ? &*progress : nullptr));
      if (fault) faults.push_back(*fault);
    }
    MH_TRY_VOID(look_again(database, faults));
    for (const BlobFault& fault : faults) tell(fault, needs.blobs.at(fault.digest));
    return {};
  }

  // Rule 1: leaves those that are missing while the database names them, each time.
  Status look_again(Database& database, std::vector<BlobFault>& faults) {
    for (int look = 0; look < kSecondLooks && !faults.empty(); ++look) {
      if (report_.is_running) std::this_thread::sleep_for(kSecondLookPause);
      MH_TRY(const ServerSnapshot snapshot, read_snapshot(database));
      const BlobNeeds needs = blob_needs(snapshot, folder_.blobs());
      std::erase_if(faults, [&](const BlobFault& fault) {
        if (!needs.blobs.contains(fault.digest)) return true;
        return fault.is_missing && find_blob(folder_.blobs(), fault.digest).has_value();
      });
      if (!report_.is_running) break;
    }
    return {};
  }

  void tell(const BlobFault& fault, const std::vector<BlobNeed>& uses) {
    std::string what = describe(uses.front());
    if (uses.size() > 1) what += " (and " + std::to_string(uses.size() - 1) + " other uses)";
    add(fault.is_missing ? "blob missing" : "blob damaged",
        what + ": blob " + fault.digest.hex() + " " + fault.what,
        advice_for(uses.front(), blob_place(folder_.blobs(), fault.digest), fault.is_missing));
  }

  Status look_for_orphans(Database& database, const BlobNeeds& needs) {
    // Listed before the database is read again: what is new since has a row by then, or is young.
    MH_TRY(const BlobListing listing, list_blobs(folder_.blobs()));
    report_.is_running = report_.is_running || is_server_running(folder_.root);
    BlobNeeds present;
    if (report_.is_running) {
      MH_TRY(const ServerSnapshot snapshot, read_snapshot(database));
      present = blob_needs(snapshot, folder_.blobs());
    }
    const auto age = report_.is_running ? options_.orphan_age : std::chrono::milliseconds(0);
    const BlobNeeds& now = report_.is_running ? present : needs;
    if (!now.unread_datasets.empty()) return {};
    for (const BlobFile& file : orphans_of(listing, now, age, now_)) {
      ++report_.orphan_count;
      report_.orphan_bytes += file.bytes;
    }
    if (!report_.is_running) report_.temporary_count = listing.temporaries.size();
    report_.strangers = listing.strangers;
    return {};
  }

  const ServerFolder folder_;
  const CheckOptions options_;
  const TimePoint now_;
  ServerSnapshot snapshot_;
  bool has_snapshot_ = false;
  CheckReport report_;
};

// What the child of coordinator_complaint() does; never returns.
[[noreturn]] void ask_coordinator(const scheduler::Snapshot& snapshot, int output) {
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::dup2(output, STDERR_FILENO);
  scheduler::CoordinatorOptions options;
  // How many checkpoints are kept is the admin's affair, not a rule.
  options.checkpoints_kept = UINT32_MAX;
  try {
    scheduler::Coordinator(options, snapshot, SystemClock().now()).sanity_check();
  } catch (const std::exception& error) {
    const std::string text = std::string("exception: ") + error.what();
    (void)!::write(output, text.data(), text.size());
    ::_exit(1);
  }
  ::_exit(0);
}

std::string read_to_end(const UniqueFd& input) {
  std::string text;
  char buffer[512];
  for (;;) {
    const ssize_t count = ::read(input.get(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return text;
    if (text.size() < kComplaintBytesMax) text.append(buffer, static_cast<std::size_t>(count));
  }
}

}  // namespace

std::string coordinator_complaint(const scheduler::Snapshot& snapshot) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return "cannot make a pipe to ask the coordinator";
  const UniqueFd input(ends[0]);
  UniqueFd output(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return "cannot start a process to ask the coordinator";
  if (child == 0) ask_coordinator(snapshot, output.get());
  output.reset();
  std::string text = read_to_end(input);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  while (text.ends_with('\n')) text.pop_back();
  return "the rows break a rule of the coordinator: " +
         (text.empty() ? "its process ended with status " + std::to_string(status) : text);
}

bool is_server_running(const std::filesystem::path& folder) {
  const UniqueFd lock(::open(ServerFolder{folder}.lock().c_str(), O_RDWR | O_CLOEXEC));
  if (!lock.is_open()) return false;
  return ::flock(lock.get(), LOCK_SH | LOCK_NB) != 0;
}

std::vector<BlobFile> orphans_of(const BlobListing& listing, const BlobNeeds& needs,
                                 std::chrono::milliseconds age, TimePoint now) {
  std::vector<BlobFile> orphans;
  for (const BlobFile& file : listing.blobs) {
    if (needs.blobs.contains(file.digest) || file.modified + age > now) continue;
    orphans.push_back(file);
  }
  return orphans;
}

Result<CheckReport> check_folder(const std::filesystem::path& folder, const CheckOptions& options,
                                 TimePoint now) {
  return Checker(folder, options, now).run();
}

}  // namespace mh::server
