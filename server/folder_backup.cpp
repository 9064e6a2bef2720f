// See folder_backup.h.
#include "server/folder_backup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <unordered_set>
#include <utility>

#include "server/blob_folder.h"
#include "server/blob_needs.h"
#include "server/blob_store.h"
#include "server/disk.h"
#include "server/progress.h"
#include "server/secrets.h"
#include "server/server_folder.h"
#include "server/sqlite_rows.h"
#include "server/sqlite_schema.h"
#include "server/sqlite_whole.h"

namespace mh::server {
namespace {

constexpr std::size_t kCopyBytes = 1024 * 1024;
constexpr std::uint64_t kSecretBytesMax = 4096;

// Copies and returns the digest of what went over. Not yet durable.
Result<Digest> copy_bytes(const OpenBlob& from, const std::filesystem::path& to) {
  const UniqueFd file(::open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!file.is_open()) return errno_error("cannot create", to, errno);
  std::vector<std::byte> buffer(kCopyBytes);
  Sha256 hash;
  for (std::uint64_t done = 0; done < from.bytes;) {
    const auto piece =
        std::span(buffer).first(std::min<std::uint64_t>(kCopyBytes, from.bytes - done));
    MH_TRY_VOID(read_fully(from.file.get(), done, piece, to));
    MH_TRY_VOID(write_fully(posix_disk(), file.get(), done, piece, to));
    hash.update(piece);
    done += piece.size();
  }
  return hash.finish();
}

class Backup {
 public:
  Backup(std::filesystem::path folder, std::filesystem::path partial, const BackupOptions& options)
      : from_{std::move(folder)}, to_{std::move(partial)}, options_(options) {}

  Result<BackupReport> run(TimePoint now) {
    MH_TRY(Database database, Database::open(from_.database(), Database::Mode::kReadOnly));
    MH_TRY_VOID(require_schema(database));
    MH_TRY_VOID(make_folders());
    MH_TRY_VOID(copy_what_is_needed_now(database));
    MH_TRY_VOID(copy_one_moment(database));
    MH_TRY_VOID(copy_secrets());
    MH_TRY_VOID(settle());
    CheckOptions check;
    check.is_quick = options_.is_quick;
    check.shows_progress = options_.shows_progress;
    MH_TRY(report_.check, check_folder(to_.root, check, now));
    if (report_.check.is_whole() || options_.is_despite_damage) return std::move(report_);
    const Finding& first = report_.check.damage.front();
    return fail(Errc::kDataLoss, first.what + "\nThe copy would not be whole (" +
                                     std::to_string(report_.check.damage.size()) +
                                     " findings), nothing was made: run "
                                     "'manyhands-server check " +
                                     from_.root.string() +
                                     "' to see what to do, or give --despite-damage");
  }

 private:
  Status make_folders() {
    std::error_code error;
    for (const char* name : {"fresh", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b",
                             "c", "d", "e", "f"}) {
      std::filesystem::create_directories(to_.blobs() / name, error);
      if (error) return errno_error("cannot create", to_.blobs(), error.value());
    }
    return {};
  }

  // Step 1: what vanishes meanwhile is no longer needed, or comes with step 4.
  Status copy_what_is_needed_now(Database& database) {
    MH_TRY(const ServerSnapshot snapshot, read_snapshot(database));
    return copy_blobs(blob_needs(snapshot, from_.blobs()));
  }

  // Steps 2 to 6.
  Status copy_one_moment(Database& database) {
    std::optional<UniqueFd> hold;
    MH_TRY(hold, hold_blobs(from_.blobs()));
    const auto begin = std::chrono::steady_clock::now();
    MH_TRY_VOID(database.execute("BEGIN"));
    MH_TRY(const ServerSnapshot snapshot, read_snapshot_in_transaction(database));
    MH_TRY_VOID(copy_blobs(blob_needs(snapshot, from_.blobs())));
    hold.reset();
    report_.held = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - begin);
    MH_TRY_VOID(copy_rows(database));
    return database.execute("COMMIT");
  }

  Status copy_rows(Database& database) {
    std::optional<Progress> progress;
    if (options_.shows_progress) progress.emplace("copying the database (pages)", false, 0);
    MH_TRY_VOID(copy_database(database, to_.database(), [&](std::uint64_t done, std::uint64_t all) {
      if (!progress) return;
      progress->set_all(all);
      progress->at(done);
    }));
    MH_TRY(Database copy, Database::open(to_.database(), Database::Mode::kReadWrite));
    MH_TRY_VOID(raise_ids(copy));
    std::error_code ignored;
    report_.database_bytes = std::filesystem::file_size(to_.database(), ignored);
    return {};
  }

  Status copy_blobs(const BlobNeeds& needs) {
    std::optional<Progress> progress;
    if (options_.shows_progress) progress.emplace("copying blobs", false, needs.blobs.size());
    for (const auto& [digest, uses] : needs.blobs) {
      if (!done_.contains(digest)) MH_TRY_VOID(copy_blob(digest));
      if (progress) progress->add(1);
    }
    return {};
  }

  // One that is missing or damaged is left to the check.
  Status copy_blob(const Digest& digest) {
    const std::filesystem::path target = blob_place(to_.blobs(), digest);
    if (!options_.is_copying && is_linked(digest, target)) {
      done_.insert(digest);
      return {};
    }
    const auto blob = find_blob(from_.blobs(), digest);
    if (!blob && blob.error().code == Errc::kNotFound) return {};
    if (!blob) return blob.error();
    MH_TRY(const Digest copied, copy_bytes(*blob, target));
    if (copied != digest) {
      ::unlink(target.c_str());
      return {};
    }
    done_.insert(digest);
    ++report_.copied_count;
    report_.copied_bytes += blob->bytes;
    return {};
  }

  // By whichever name it has at this moment (find_blob says why three looks).
  bool is_linked(const Digest& digest, const std::filesystem::path& target) {
    const std::filesystem::path place = blob_place(from_.blobs(), digest);
    for (const auto& path : {place, fresh_blob_place(from_.blobs(), digest), place}) {
      if (::link(path.c_str(), target.c_str()) != 0) continue;
      std::error_code ignored;
      ++report_.linked_count;
      report_.linked_bytes += std::filesystem::file_size(target, ignored);
      return true;
    }
    return false;
  }

  Status copy_secrets() {
    for (const auto& [from, to] : {std::pair(from_.signing_key(), to_.signing_key()),
                                   std::pair(from_.admin_token(), to_.admin_token()),
                                   std::pair(from_.invitation(), to_.invitation()),
                                   std::pair(from_.tls_key(), to_.tls_key()),
                                   std::pair(from_.tls_certificate(), to_.tls_certificate())}) {
      const auto text = read_file(from, kSecretBytesMax);
      // An admin may have put them away.
      if (!text && text.error().code == Errc::kNotFound) continue;
      if (!text) return text.error();
      MH_TRY_VOID(write_file_atomically(to, *text, 0600));
    }
    return {};
  }

  // One call for all files and folders: an fsync for each blob would take minutes.
  Status settle() const {
    const UniqueFd folder(::open(to_.root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder.is_open()) return errno_error("cannot open", to_.root, errno);
    if (::syncfs(folder.get()) != 0) return errno_error("cannot sync", to_.root, errno);
    return {};
  }

  const ServerFolder from_;
  const ServerFolder to_;
  const BackupOptions options_;
  // Blobs that the copy has.
  std::unordered_set<Digest> done_;
  BackupReport report_;
};

}  // namespace

Result<BackupReport> backup_folder(const std::filesystem::path& folder,
                                   const std::filesystem::path& out, const BackupOptions& options,
                                   TimePoint now) {
  std::error_code error;
  if (!std::filesystem::exists(ServerFolder{folder}.database(), error)) {
    return fail(Errc::kNotFound, folder.string() + " is no server's folder");
  }
  std::filesystem::path target = std::filesystem::absolute(out, error).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();
  if (std::filesystem::exists(std::filesystem::symlink_status(target, error))) {
    return fail(Errc::kAlreadyExists, out.string() + " exists: a backup overwrites nothing");
  }
  std::filesystem::create_directories(target.parent_path(), error);
  if (error) return errno_error("cannot create", target.parent_path(), error.value());
  const std::filesystem::path partial =
      target.parent_path() / ("." + target.filename().string() + ".backup-" + random_hex(4));
  if (::mkdir(partial.c_str(), 0700) != 0) return errno_error("cannot create", partial, errno);
  Result<BackupReport> report = Backup(folder, partial, options).run(now);
  if (report &&
      ::renameat2(AT_FDCWD, partial.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) != 0) {
    report = errno_error("cannot create", target, errno);
  }
  if (!report) {
    std::filesystem::remove_all(partial, error);
    return report;
  }
  MH_TRY_VOID(fsync_dir(target.parent_path()));
  return report;
}

}  // namespace mh::server
