// See blob_store.h.
#include "server/blob_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <string>
#include <utility>

#include "proto/base/bytes.h"

namespace mh::server {
namespace {

constexpr std::size_t kPieceBytes = 256 * 1024;
constexpr std::string_view kTemporaryPrefix = "tmp-";

std::string next_temporary_name() {
  static std::atomic<std::uint64_t> counter{0};
  return std::string(kTemporaryPrefix) + std::to_string(::getpid()) + "-" +
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

}  // namespace

Error disk_error(std::string_view doing, const std::filesystem::path& path, int error_number) {
  Error error = errno_error(doing, path, error_number);
  if (error.code == Errc::kResourceExhausted) {
    error.message += "; free some space on the server and try again";
  }
  return error;
}

Result<void> write_fully(int descriptor, std::uint64_t offset, std::span<const std::byte> bytes,
                         const std::filesystem::path& file) {
  while (!bytes.empty()) {
    const ssize_t written =
        ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) continue;
      return disk_error("cannot write", file, errno);
    }
    offset += static_cast<std::uint64_t>(written);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

Result<void> read_fully(int descriptor, std::uint64_t offset, std::span<std::byte> bytes,
                        const std::filesystem::path& file) {
  while (!bytes.empty()) {
    const ssize_t count =
        ::pread(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0) {
      if (errno == EINTR) continue;
      return errno_error("cannot read", file, errno);
    }
    if (count == 0) {
      return fail(Errc::kDataLoss,
                  file.string() + " ends " + std::to_string(bytes.size()) + " bytes too early");
    }
    offset += static_cast<std::uint64_t>(count);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

Result<BlobStore> BlobStore::open(std::filesystem::path folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return errno_error("cannot create", folder, error.value());
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().filename().string().starts_with(kTemporaryPrefix)) {
      ::unlink(entry.path().c_str());
    }
  }
  MH_TRY_VOID(fsync_dir(folder));
  return BlobStore(std::move(folder));
}

std::filesystem::path BlobStore::path_of(const Digest& digest) const {
  const std::string hex = digest.hex();
  return folder_ / hex.substr(0, 2) / hex;
}

bool BlobStore::contains(const Digest& digest) const {
  return ::access(path_of(digest).c_str(), R_OK) == 0;
}

Result<void> BlobStore::settle(const Digest& digest) const {
  return fsync_dir(path_of(digest).parent_path());
}

Result<std::uint64_t> BlobStore::size(const Digest& digest) const {
  struct stat status {};
  if (::stat(path_of(digest).c_str(), &status) != 0) {
    return fail(Errc::kNotFound, "no blob " + digest.hex() + " on this server");
  }
  return static_cast<std::uint64_t>(status.st_size);
}

Result<OpenBlob> BlobStore::open_blob(const Digest& digest) const {
  const std::filesystem::path path = path_of(digest);
  OpenBlob blob;
  blob.file = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
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

Result<Digest> BlobStore::put(std::span<const std::byte> content) {
  TemporaryFile temporary(folder_ / next_temporary_name());
  UniqueFd file(::open(temporary.path().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!file.is_open()) return disk_error("cannot create", temporary.path(), errno);
  Sha256 hash;
  for (std::size_t offset = 0; offset < content.size(); offset += kPieceBytes) {
    const auto piece = content.subspan(offset, std::min(kPieceBytes, content.size() - offset));
    MH_TRY_VOID(write_fully(file.get(), offset, piece, temporary.path()));
    hash.update(piece);
  }
  const Digest digest = hash.finish();
  if (contains(digest)) {
    MH_TRY_VOID(settle(digest));
    return digest;
  }
  if (::fsync(file.get()) != 0) return disk_error("cannot fsync", temporary.path(), errno);
  MH_TRY_VOID(adopt(temporary.path(), digest));
  temporary.published();
  return digest;
}

Result<Digest> BlobStore::put(std::string_view content) { return put(as_bytes(content)); }

Result<void> BlobStore::adopt(const std::filesystem::path& file, const Digest& digest) {
  const std::filesystem::path target = path_of(digest);
  if (::rename(file.c_str(), target.c_str()) == 0) return fsync_dir(target.parent_path());
  if (errno != ENOENT) return disk_error("cannot publish", target, errno);
  // The first blob of its folder.
  if (::mkdir(target.parent_path().c_str(), 0755) != 0 && errno != EEXIST)
    return disk_error("cannot create", target.parent_path(), errno);
  MH_TRY_VOID(fsync_dir(folder_));
  if (::rename(file.c_str(), target.c_str()) != 0)
    return disk_error("cannot publish", target, errno);
  return fsync_dir(target.parent_path());
}

std::optional<std::filesystem::path> BlobStore::take_out(const Digest& digest) {
  std::filesystem::path aside = folder_ / next_temporary_name();
  if (::rename(path_of(digest).c_str(), aside.c_str()) != 0) return std::nullopt;
  return aside;
}

void BlobStore::remove(const Digest& digest) { ::unlink(path_of(digest).c_str()); }

}  // namespace mh::server
