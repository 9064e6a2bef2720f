// See blob_store.h.
#include "server/blob_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <future>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "proto/base/bytes.h"
#include "proto/base/kill_point.h"

namespace mh::server {
namespace {

// From here on a thread for fsync is worth its start.
constexpr std::size_t kFlushAsideBytesMin = 1024 * 1024;
constexpr std::size_t kCopyBytes = 1024 * 1024;
// Spare files: smaller ones are not worth it, larger ones would hold too much of the disk.
constexpr std::uint64_t kSpareBytesMin = 64 * 1024;
constexpr std::uint64_t kSpareBytesMax = 256ull * 1024 * 1024;
constexpr std::size_t kSpareCountMax = 32;

KillPoint put_before_fsync("blob.put.before_fsync");
KillPoint before_rename("blob.before_rename");
KillPoint after_rename("blob.after_rename");
KillPoint after_folder_fsync("blob.after_folder_fsync");
KillPoint fresh_before_rename("blob.fresh.before_rename");
KillPoint fresh_after_rename("blob.fresh.after_rename");
KillPoint fresh_before_fsync("blob.fresh.before_fsync");
KillPoint before_take_out("blob.before_take_out");
KillPoint after_take_out("blob.after_take_out");
KillPoint before_recycle("blob.before_recycle");
KillPoint after_recycle("blob.after_recycle");

std::string next_temporary_name() {
  static std::atomic<std::uint64_t> counter{0};
  return std::string(kTemporaryBlobPrefix) + std::to_string(::getpid()) + "-" +
         std::to_string(counter.fetch_add(1));
}

// Removes a temporary file unless it was published.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::filesystem::path path) : path_(std::move(path)) {}
  ~TemporaryFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::filesystem::path& path() const { return path_; }
  void published() { path_.clear(); }

 private:
  std::filesystem::path path_;
};

// True if nobody has the file open or mapped: the kernel grants a write lease only then.
bool is_unused(int descriptor) {
  if (::fcntl(descriptor, F_SETLEASE, F_WRLCK) != 0) return false;
  return ::fcntl(descriptor, F_SETLEASE, F_UNLCK) == 0;
}

}  // namespace

struct BlobStore::Books {
  // Constant after open().
  UniqueFd hold;
  // Taken before `mutex`.
  std::mutex recycling;
  std::mutex mutex;
  // Guarded by mutex.
  std::unordered_set<Digest> fresh;
  // Blobs whose fsync failed, or the fsync of whose folder did, and where their bytes lie.
  std::unordered_map<Digest, std::filesystem::path> in_doubt;
  // Folders that blobs were taken out of since recycle() looked last.
  std::set<std::filesystem::path> emptied;
  std::multimap<std::uint64_t, std::filesystem::path> spares;
  std::uint64_t spare_bytes = 0;
};

BlobStore::BlobStore(std::filesystem::path folder, Disk& disk)
    : folder_(std::move(folder)), disk_(&disk), books_(std::make_shared<Books>()) {}

Result<BlobStore> BlobStore::open(std::filesystem::path folder, Disk& disk) {
  std::error_code error;
  std::filesystem::create_directories(folder / "fresh", error);
  if (error) return errno_error("cannot create", folder, error.value());
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().filename().string().starts_with(kTemporaryBlobPrefix)) {
      ::unlink(entry.path().c_str());
    }
  }
  MH_TRY_VOID(sync_folder(disk, folder));
  BlobStore store(std::move(folder), disk);
  MH_TRY(store.books_->hold, open_hold(store.folder_));
  MH_TRY_VOID(store.take_up_fresh());
  return store;
}

// What a killed server left is right; what a power failure left may be anything.
Result<void> BlobStore::take_up_fresh() {
  std::error_code error;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder_ / "fresh", error))
    files.push_back(entry.path());
  if (error) return errno_error("cannot list", folder_ / "fresh", error.value());
  for (const std::filesystem::path& path : files) {
    const auto digest = Digest::from_hex(path.filename().string());
    const auto file = MappedFile::open(path);
    if (digest && file && sha256(file->bytes()) == *digest) {
      books_->fresh.insert(*digest);
    } else {
      ::unlink(path.c_str());
    }
  }
  return {};
}

std::filesystem::path BlobStore::place_of(const Digest& digest) const {
  return blob_place(folder_, digest);
}

std::filesystem::path BlobStore::fresh_place_of(const Digest& digest) const {
  return fresh_blob_place(folder_, digest);
}

bool BlobStore::is_fresh(const Digest& digest) const {
  const std::lock_guard lock(books_->mutex);
  return books_->fresh.contains(digest);
}

bool BlobStore::is_in_doubt(const Digest& digest) const {
  const std::lock_guard lock(books_->mutex);
  return books_->in_doubt.contains(digest);
}

std::filesystem::path BlobStore::path_of(const Digest& digest) const {
  const std::lock_guard lock(books_->mutex);
  return path_locked(digest);
}

std::filesystem::path BlobStore::path_locked(const Digest& digest) const {
  if (const auto doubt = books_->in_doubt.find(digest); doubt != books_->in_doubt.end())
    return doubt->second;
  return books_->fresh.contains(digest) ? fresh_place_of(digest) : place_of(digest);
}

bool BlobStore::contains(const Digest& digest) const {
  return ::access(path_of(digest).c_str(), R_OK) == 0;
}

Result<void> BlobStore::settle(const Digest& digest) {
  if (is_fresh(digest)) return {};
  if (is_in_doubt(digest)) {
    return fail(Errc::kDataLoss,
                "blob " + digest.hex() + " was stored on a disk that failed: store it again");
  }
  return sync_place(digest);
}

Result<void> BlobStore::sync_place(const Digest& digest) {
  const std::filesystem::path place = place_of(digest);
  Result<void> done = sync_folder(*disk_, place.parent_path());
  if (!done) {
    const std::lock_guard lock(books_->mutex);
    note_doubt(digest, place);
  }
  return done;
}

Result<std::uint64_t> BlobStore::size(const Digest& digest) const {
  struct stat status {};
  if (::stat(path_of(digest).c_str(), &status) != 0) {
    return fail(Errc::kNotFound, "no blob " + digest.hex() + " on this server");
  }
  return static_cast<std::uint64_t>(status.st_size);
}

Result<OpenBlob> BlobStore::open_blob(const Digest& digest) const {
  std::filesystem::path path = path_of(digest);
  OpenBlob blob;
  blob.file = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!blob.file.is_open() && errno == ENOENT) {
    // It may have become durable between the two lines.
    path = path_of(digest);
    blob.file = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  }
  struct stat status {};
  if (!blob.file.is_open() || ::fstat(blob.file.get(), &status) != 0) {
    if (errno == ENOENT) {
      return fail(Errc::kNotFound, "no blob " + digest.hex() + " on this server");
    }
    return errno_error("cannot open", path, errno);
  }
  blob.bytes = static_cast<std::uint64_t>(status.st_size);
  return blob;
}

Result<std::vector<std::byte>> BlobStore::read(const Digest& digest,
                                               std::uint64_t bytes_max) const {
  MH_TRY(OpenBlob blob, open_blob(digest));
  if (blob.bytes > bytes_max) {
    return fail(Errc::kResourceExhausted, "blob " + digest.hex() + " is " +
                                              std::to_string(blob.bytes) + " bytes, limit is " +
                                              std::to_string(bytes_max));
  }
  std::vector<std::byte> content(blob.bytes);
  MH_TRY_VOID(read_fully(blob.file.get(), 0, content, path_of(digest)));
  return content;
}

Result<MappedFile> BlobStore::map(const Digest& digest, std::uint64_t bytes_max) const {
  const std::filesystem::path path = path_of(digest);
  auto file = MappedFile::open(path, bytes_max);
  if (!file && file.error().code == Errc::kNotFound && path_of(digest) != path)
    file = MappedFile::open(path_of(digest), bytes_max);
  return file;
}

Result<Digest> BlobStore::put(std::span<const std::byte> content) {
  auto spare = take_spare(content.size());
  TemporaryFile temporary(spare ? spare->second : folder_ / next_temporary_name());
  UniqueFd file =
      spare
          ? std::move(spare->first)
          : UniqueFd(disk_->open(temporary.path(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!file.is_open()) return disk_error("cannot create", temporary.path(), errno);
  MH_TRY_VOID(write_fully(*disk_, file.get(), 0, content, temporary.path()));
  put_before_fsync.pass();
  // The disk works while the processor hashes.
  const auto flush = [this, descriptor = file.get()] {
    return disk_->sync(descriptor) == 0 ? 0 : errno;
  };
  const auto when =
      content.size() >= kFlushAsideBytesMin ? std::launch::async : std::launch::deferred;
  std::future<int> flushed = std::async(when, flush);
  const Digest digest = sha256(content);
  if (const int error = flushed.get(); error != 0)
    return disk_error("cannot fsync", temporary.path(), error);
  if (contains(digest) && !is_in_doubt(digest)) {
    MH_TRY_VOID(is_fresh(digest) ? make_durable(digest) : settle(digest));
    return digest;
  }
  MH_TRY_VOID(adopt(temporary.path(), digest));
  temporary.published();
  return digest;
}

Result<Digest> BlobStore::put(std::string_view content) { return put(as_bytes(content)); }

Result<void> BlobStore::adopt(const std::filesystem::path& file, const Digest& digest) {
  MH_TRY_VOID(move_into_place(file, digest));
  MH_TRY_VOID(sync_place(digest));
  after_folder_fsync.pass();
  end_doubt(digest);
  return {};
}

void BlobStore::note_doubt(const Digest& digest, const std::filesystem::path& path) {
  std::filesystem::path& lies_at = books_->in_doubt[digest];
  if (!lies_at.empty() && lies_at != path) ::unlink(lies_at.c_str());
  lies_at = path;
}

void BlobStore::end_doubt(const Digest& digest) {
  const std::lock_guard lock(books_->mutex);
  const auto doubt = books_->in_doubt.find(digest);
  if (doubt == books_->in_doubt.end()) return;
  if (doubt->second != place_of(digest)) ::unlink(doubt->second.c_str());
  books_->in_doubt.erase(doubt);
  books_->fresh.erase(digest);
}

Result<void> BlobStore::move_into_place(const std::filesystem::path& file, const Digest& digest) {
  before_rename.pass();
  MH_TRY_VOID(rename_into_place(file, digest));
  after_rename.pass();
  return {};
}

Result<void> BlobStore::rename_into_place(const std::filesystem::path& file, const Digest& digest) {
  const std::filesystem::path target = place_of(digest);
  if (disk_->rename(file, target) == 0) return {};
  if (errno != ENOENT) return disk_error("cannot publish", target, errno);
  // The first blob of its folder.
  if (::mkdir(target.parent_path().c_str(), 0755) != 0 && errno != EEXIST)
    return disk_error("cannot create", target.parent_path(), errno);
  if (auto synced = sync_folder(*disk_, folder_); !synced) {
    // So that the next one makes it again: another fsync of its name would prove nothing.
    ::rmdir(target.parent_path().c_str());
    return synced;
  }
  if (disk_->rename(file, target) != 0) return disk_error("cannot publish", target, errno);
  return {};
}

Result<void> BlobStore::adopt_fresh(const std::filesystem::path& file, const Digest& digest) {
  const std::filesystem::path target = fresh_place_of(digest);
  const std::lock_guard lock(books_->mutex);
  const auto doubt = books_->in_doubt.find(digest);
  const bool is_safe = !books_->fresh.contains(digest) && doubt == books_->in_doubt.end();
  if (is_safe && ::access(place_of(digest).c_str(), R_OK) == 0) {
    ::unlink(file.c_str());
    return {};
  }
  fresh_before_rename.pass();
  if (disk_->rename(file, target) != 0) return disk_error("cannot publish", target, errno);
  fresh_after_rename.pass();
  if (doubt != books_->in_doubt.end()) {
    if (doubt->second != target) ::unlink(doubt->second.c_str());
    books_->in_doubt.erase(doubt);
  }
  books_->fresh.insert(digest);
  return {};
}

Result<void> BlobStore::make_durable(const Digest& digest) {
  if (is_in_doubt(digest)) return write_anew(digest);
  if (!is_fresh(digest)) return {};
  const std::filesystem::path path = fresh_place_of(digest);
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) {
    if (!is_fresh(digest)) return {};
    return disk_error("cannot open", path, errno);
  }
  fresh_before_fsync.pass();
  if (disk_->sync(file.get()) != 0) {
    Error error = disk_error("cannot fsync", path, errno);
    doubt_fresh(digest);
    return error;
  }
  {
    const std::lock_guard lock(books_->mutex);
    if (books_->in_doubt.contains(digest))
      return fail(Errc::kInternal, "cannot fsync " + path.string() + ": it failed a moment ago");
    if (!books_->fresh.contains(digest))
      return fail(Errc::kNotFound, "blob " + digest.hex() + " was released meanwhile");
    MH_TRY_VOID(move_into_place(path, digest));
    books_->fresh.erase(digest);
  }
  return sync_place(digest);
}

void BlobStore::doubt_fresh(const Digest& digest) {
  const std::lock_guard lock(books_->mutex);
  if (!books_->fresh.contains(digest) || books_->in_doubt.contains(digest)) return;
  const std::filesystem::path path = fresh_place_of(digest);
  std::filesystem::path aside = path;
  aside += kDoubtSuffix;
  // Without the new name a server that is killed now would take it up again; the bytes are there
  // either way.
  const bool is_aside = ::rename(path.c_str(), aside.c_str()) == 0;
  books_->in_doubt[digest] = is_aside ? aside : path;
}

Result<void> BlobStore::write_anew(const Digest& digest) {
  TemporaryFile temporary(folder_ / next_temporary_name());
  MH_TRY_VOID(copy_verified(path_of(digest), temporary.path(), digest));
  {
    const std::lock_guard lock(books_->mutex);
    if (!books_->in_doubt.contains(digest))
      return fail(Errc::kNotFound, "blob " + digest.hex() + " was released meanwhile");
    MH_TRY_VOID(move_into_place(temporary.path(), digest));
    temporary.published();
    note_doubt(digest, place_of(digest));
    books_->fresh.erase(digest);
  }
  MH_TRY_VOID(sync_place(digest));
  end_doubt(digest);
  return {};
}

Result<void> BlobStore::copy_verified(const std::filesystem::path& from,
                                      const std::filesystem::path& to, const Digest& digest) const {
  MH_TRY(const MappedFile file, MappedFile::open(from));
  const UniqueFd copy(disk_->open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!copy.is_open()) return disk_error("cannot create", to, errno);
  Sha256 hash;
  for (std::size_t at = 0; at < file.bytes().size(); at += kCopyBytes) {
    // Hashed as it was written: what a broken disk gives for the same byte may change.
    const auto source = file.bytes().subspan(at, std::min(kCopyBytes, file.bytes().size() - at));
    const std::vector<std::byte> piece(source.begin(), source.end());
    hash.update(piece);
    MH_TRY_VOID(write_fully(*disk_, copy.get(), at, piece, to));
  }
  if (hash.finish() != digest) {
    return fail(Errc::kDataLoss, "blob " + digest.hex() +
                                     " was lost by the disk: its fsync failed, and the bytes "
                                     "that are left have another SHA-256");
  }
  if (disk_->sync(copy.get()) != 0) return disk_error("cannot fsync", to, errno);
  return {};
}

std::optional<DeletionTurn> BlobStore::begin_deletion() const {
  return DeletionTurn::take(books_->hold);
}

std::optional<std::filesystem::path> BlobStore::take_out(const Digest& digest) {
  std::filesystem::path aside = folder_ / next_temporary_name();
  const std::lock_guard lock(books_->mutex);
  const std::filesystem::path path = path_locked(digest);
  books_->fresh.erase(digest);
  books_->in_doubt.erase(digest);
  before_take_out.pass();
  if (::rename(path.c_str(), aside.c_str()) != 0) return std::nullopt;
  after_take_out.pass();
  books_->emptied.insert(path.parent_path());
  return aside;
}

void BlobStore::recycle(const std::vector<std::filesystem::path>& files) {
  if (files.empty()) return;
  // One at a time: what another call took from `emptied` is durable when it ends, not before.
  const std::lock_guard one_at_a_time(books_->recycling);
  // The folders that they were taken out of, then the one that they are in.
  std::set<std::filesystem::path> folders;
  {
    const std::lock_guard lock(books_->mutex);
    folders.swap(books_->emptied);
  }
  before_recycle.pass();
  bool is_durable = true;
  for (const std::filesystem::path& folder : folders)
    is_durable = sync_folder(*disk_, folder).has_value() && is_durable;
  is_durable = sync_folder(*disk_, folder_).has_value() && is_durable;
  for (const std::filesystem::path& file : files) {
    if (is_durable) {
      keep_spare(file);
    } else {
      ::unlink(file.c_str());
    }
  }
  after_recycle.pass();
}

void BlobStore::keep_spare(const std::filesystem::path& file) {
  struct stat status {};
  const bool is_there = ::stat(file.c_str(), &status) == 0;
  const auto bytes = static_cast<std::uint64_t>(is_there ? status.st_size : 0);
  // No name but this one: a backup may have linked it while it was a blob, and can no more.
  const bool is_ours = is_there && status.st_nlink == 1;
  if (is_ours && bytes >= kSpareBytesMin) {
    const std::lock_guard lock(books_->mutex);
    if (books_->spares.size() < kSpareCountMax && books_->spare_bytes + bytes <= kSpareBytesMax) {
      books_->spares.emplace(bytes, file);
      books_->spare_bytes += bytes;
      return;
    }
  }
  ::unlink(file.c_str());
}

std::optional<std::pair<UniqueFd, std::filesystem::path>> BlobStore::take_spare(
    std::uint64_t bytes) {
  std::filesystem::path path;
  {
    const std::lock_guard lock(books_->mutex);
    const auto found = books_->spares.find(bytes);
    if (found == books_->spares.end()) return std::nullopt;
    path = found->second;
    books_->spare_bytes -= bytes;
    books_->spares.erase(found);
  }
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  // Somebody may still be sending what it was; then it is of no use.
  if (file.is_open() && is_unused(file.get())) return std::pair(std::move(file), std::move(path));
  ::unlink(path.c_str());
  return std::nullopt;
}

}  // namespace mh::server
