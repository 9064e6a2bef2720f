// See blob_folder.h.
#include "server/blob_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <utility>

namespace mh::server {
namespace {

constexpr std::size_t kReadBytes = 256 * 1024;
constexpr std::string_view kHoldName = "hold";

// False: it has vanished, or is no file.
bool describe(const std::filesystem::path& path, BlobFile& file) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return false;
  file.path = path;
  file.bytes = static_cast<std::uint64_t>(status.st_size);
  file.modified = from_unix_ms(std::int64_t{status.st_mtim.tv_sec} * 1'000 +
                               status.st_mtim.tv_nsec / 1'000'000);
  return true;
}

// `first` is the folder's digit; 0 for the folder of fresh blobs.
Status list_folder(const std::filesystem::path& folder, char first, BlobListing& listing) {
  std::error_code error;
  for (auto entry = std::filesystem::directory_iterator(folder, error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    const auto digest = Digest::from_hex(name);
    BlobFile file;
    if (first == 0 && name.ends_with(kDoubtSuffix)) {
      if (describe(entry->path(), file)) listing.temporaries.push_back(std::move(file));
    } else if (!digest || (first != 0 && name.front() != first)) {
      listing.strangers.push_back(entry->path());
    } else if (describe(entry->path(), file)) {
      file.digest = *digest;
      listing.blobs.push_back(std::move(file));
    }
  }
  if (error) return errno_error("cannot list", folder, error.value());
  return {};
}

bool is_digit_folder(const std::string& name) {
  return name.size() == 1 &&
         std::string_view("0123456789abcdef").find(name[0]) != std::string::npos;
}

}  // namespace

std::filesystem::path blob_place(const std::filesystem::path& folder, const Digest& digest) {
  const std::string hex = digest.hex();
  return folder / hex.substr(0, 1) / hex;
}

std::filesystem::path fresh_blob_place(const std::filesystem::path& folder, const Digest& digest) {
  return folder / "fresh" / digest.hex();
}

Result<OpenBlob> find_blob(const std::filesystem::path& folder, const Digest& digest) {
  const std::filesystem::path place = blob_place(folder, digest);
  // A fresh blob moves to its place once: who misses it at both finds it at the third look.
  for (const auto& path : {place, fresh_blob_place(folder, digest), place}) {
    OpenBlob blob;
    blob.file = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status {};
    if (blob.file.is_open() && ::fstat(blob.file.get(), &status) == 0) {
      blob.bytes = static_cast<std::uint64_t>(status.st_size);
      return blob;
    }
    if (errno != ENOENT) return errno_error("cannot open", path, errno);
  }
  return fail(Errc::kNotFound, "no blob " + digest.hex() + " in " + folder.string());
}

Result<Digest> hash_file(const UniqueFd& file, const std::filesystem::path& path,
                         const BytesRead& read) {
  std::vector<std::byte> buffer(kReadBytes);
  Sha256 hash;
  off_t offset = 0;
  for (;;) {
    const ssize_t count = ::pread(file.get(), buffer.data(), buffer.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno_error("cannot read", path, errno);
    if (count == 0) return hash.finish();
    hash.update(std::span(buffer).first(static_cast<std::size_t>(count)));
    offset += count;
    if (read) read(static_cast<std::uint64_t>(count));
  }
}

Result<BlobListing> list_blobs(const std::filesystem::path& folder) {
  BlobListing listing;
  std::error_code error;
  for (auto entry = std::filesystem::directory_iterator(folder, error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    BlobFile file;
    if (is_digit_folder(name)) {
      MH_TRY_VOID(list_folder(entry->path(), name[0], listing));
    } else if (name == "fresh") {
      MH_TRY_VOID(list_folder(entry->path(), 0, listing));
    } else if (name.starts_with(kTemporaryBlobPrefix)) {
      if (describe(entry->path(), file)) listing.temporaries.push_back(std::move(file));
    } else if (name != kHoldName) {
      listing.strangers.push_back(entry->path());
    }
  }
  if (error) return errno_error("cannot list", folder, error.value());
  return listing;
}

Result<UniqueFd> open_hold(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kHoldName;
  UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file.is_open()) return errno_error("cannot open", path, errno);
  return file;
}

Result<UniqueFd> hold_blobs(const std::filesystem::path& folder) {
  MH_TRY(UniqueFd file, open_hold(folder));
  while (::flock(file.get(), LOCK_SH) != 0) {
    if (errno != EINTR) return errno_error("cannot lock", folder / kHoldName, errno);
  }
  return file;
}

std::optional<DeletionTurn> DeletionTurn::take(const UniqueFd& lock) {
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) return std::nullopt;
  return DeletionTurn(lock.get());
}

DeletionTurn::~DeletionTurn() {
  if (descriptor_ >= 0) ::flock(descriptor_, LOCK_UN);
}

DeletionTurn::DeletionTurn(DeletionTurn&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)) {}

}  // namespace mh::server
