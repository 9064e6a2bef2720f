// See folder_gc.h.
#include "server/folder_gc.h"

#include <unistd.h>

#include <cerrno>
#include <future>
#include <set>
#include <utility>
#include <vector>

#include "scheduler/coordinator.h"
#include "server/blob_folder.h"
#include "server/blob_needs.h"
#include "server/folder_check.h"
#include "server/progress.h"
#include "server/server_folder.h"
#include "server/sqlite_rows.h"
#include "server/sqlite_schema.h"
#include "server/sqlite_store.h"
#include "server/upload_files.h"

namespace mh::server {
namespace {

class Collector {
 public:
  Collector(std::filesystem::path folder, const GcOptions& options, TimePoint now)
      : folder_{std::move(folder)}, options_(options), now_(now) {}

  Result<GcReport> run() {
    MH_TRY(const UniqueFd lock, lock_server_folder(folder_));
    std::error_code error;
    std::filesystem::create_directories(folder_.blobs(), error);
    if (error) return errno_error("cannot create", folder_.blobs(), error.value());
    MH_TRY(const UniqueFd hold, open_hold(folder_.blobs()));
    const auto turn = DeletionTurn::take(hold);
    if (!turn) {
      return fail(Errc::kUnavailable, "a backup of " + folder_.root.string() +
                                          " is being made: try again when it is done");
    }
    MH_TRY(ServerSnapshot snapshot, read_rows_of_folder());
    MH_TRY_VOID(apply_retention(snapshot));
    MH_TRY_VOID(collect_blobs(snapshot));
    MH_TRY_VOID(collect_uploads());
    return report_;
  }

 private:
  Result<ServerSnapshot> read_rows_of_folder() {
    MH_TRY(Database database, Database::open(folder_.database(), Database::Mode::kReadOnly));
    MH_TRY_VOID(require_schema(database));
    MH_TRY(ServerSnapshot snapshot, read_snapshot(database));
    const std::string complaint = coordinator_complaint(snapshot.scheduler);
    if (complaint.empty()) return snapshot;
    return fail(Errc::kDataLoss, complaint + "\nNothing was deleted; 'manyhands-server check " +
                                     folder_.root.string() + "' says more");
  }

  // Rule 4. The snapshot is changed as the rows are.
  Status apply_retention(ServerSnapshot& snapshot) {
    if (!options_.retention) return {};
    scheduler::CoordinatorOptions options;
    options.checkpoints_kept = options_.retention->checkpoints_kept;
    options.checkpoint_every = options_.retention->checkpoint_every;
    scheduler::Coordinator coordinator(options, snapshot.scheduler, now_);
    auto decision = coordinator.prune_checkpoints();
    std::set<std::pair<JobId, std::uint64_t>> gone;
    for (const scheduler::CheckpointRow& row : decision.changes.checkpoints) {
      gone.emplace(row.job, row.step);
    }
    std::erase_if(snapshot.scheduler.checkpoints, [&](const scheduler::CheckpointRow& row) {
      return gone.contains({row.job, row.step});
    });
    report_.checkpoint_count = gone.size();
    if (options_.is_dry_run || gone.empty()) return {};
    MH_TRY(const auto store, SqliteStore::open(folder_.database()));
    Transaction transaction;
    transaction.changes = std::move(decision.changes);
    std::promise<void> committed;
    store->commit(std::move(transaction), [&committed] { committed.set_value(); });
    committed.get_future().wait();
    return {};
  }

  Status collect_blobs(const ServerSnapshot& snapshot) {
    const BlobNeeds needs = blob_needs(snapshot, folder_.blobs());
    if (!needs.unread_datasets.empty()) {
      return fail(Errc::kDataLoss, "the manifest of data set \"" + needs.unread_datasets.front() +
                                       "\" cannot be read, so it is not known which chunks are "
                                       "needed. Nothing was deleted; 'manyhands-server check " +
                                       folder_.root.string() + "' says more");
    }
    MH_TRY(const BlobListing listing, list_blobs(folder_.blobs()));
    const auto orphans = orphans_of(listing, needs, options_.orphan_age, now_);
    const auto all = orphans_of(listing, needs, std::chrono::milliseconds(0), now_);
    report_.young_count = all.size() - orphans.size();
    report_.blob_count = orphans.size();
    report_.temporary_count = listing.temporaries.size();
    MH_TRY(report_.blob_bytes, remove(orphans));
    MH_TRY(report_.temporary_bytes, remove(listing.temporaries));
    return {};
  }

  // Uploads that have expired, and files that are no upload a restart would take up.
  Status collect_uploads() {
    std::vector<BlobFile> abandoned;
    std::set<std::string> living;
    std::vector<std::filesystem::path> files;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.uploads(), error)) {
      files.push_back(entry.path());
      if (entry.path().extension() != ".info") continue;
      const auto info = read_upload_info(entry.path());
      if (info && info->expires > now_) living.insert(entry.path().stem().string());
    }
    // No upload was ever begun.
    if (error == std::errc::no_such_file_or_directory) return {};
    if (error) return errno_error("cannot list", folder_.uploads(), error.value());
    for (const std::filesystem::path& path : files) {
      if (living.contains(path.stem().string())) continue;
      BlobFile file;
      file.path = path;
      file.bytes = std::filesystem::file_size(path, error);
      abandoned.push_back(std::move(file));
    }
    report_.upload_count = abandoned.size();
    MH_TRY(report_.upload_bytes, remove(abandoned));
    return {};
  }

  // Returns the bytes that this frees.
  Result<std::uint64_t> remove(const std::vector<BlobFile>& files) {
    std::uint64_t bytes = 0;
    std::set<std::filesystem::path> folders;
    std::optional<Progress> progress;
    if (options_.shows_progress) progress.emplace("deleting files", false, files.size());
    for (const BlobFile& file : files) {
      bytes += file.bytes;
      if (options_.is_dry_run) continue;
      if (::unlink(file.path.c_str()) != 0 && errno != ENOENT) {
        return errno_error("cannot delete", file.path, errno);
      }
      folders.insert(file.path.parent_path());
      if (progress) progress->add(1);
    }
    for (const std::filesystem::path& folder : folders) MH_TRY_VOID(fsync_dir(folder));
    return bytes;
  }

  const ServerFolder folder_;
  const GcOptions options_;
  const TimePoint now_;
  GcReport report_;
};

}  // namespace

Result<GcReport> gc_folder(const std::filesystem::path& folder, const GcOptions& options,
                           TimePoint now) {
  return Collector(folder, options, now).run();
}

}  // namespace mh::server
