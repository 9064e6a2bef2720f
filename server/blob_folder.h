// The files of a blob folder as they lie on disk: what BlobStore, backup, check and gc share.
//
//   DIR/a/<hex>      a blob, in the folder of its first digit
//   DIR/fresh/<hex>  a blob that is not yet safe from a power failure (blob_store.h)
//   DIR/tmp-*        files on their way in or out, and spare ones; a start removes them
//   DIR/hold         locked: shared by who needs that no blob is deleted, exclusively by who
//   deletes
//
// Rules
// 1. A blob is named in the database after it is here whole, and leaves here after the transaction
//    that no longer names it. So whoever holds the folder first and reads the database afterwards
//    finds every blob that the database names. *Rationale:* a backup may take minutes, the
//    parameters of a small job live for milliseconds.
// 2. A hold is a lock on an open file: it ends with its process, whatever that dies of.
// Threads: any; every function blocks on the disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "proto/base/clock.h"
#include "proto/base/file.h"
#include "proto/base/result.h"
#include "proto/base/sha256.h"

namespace mh::server {

inline constexpr std::string_view kTemporaryBlobPrefix = "tmp-";
// Of a fresh blob whose fsync failed, while the server writes it anew (blob_store.h).
inline constexpr std::string_view kDoubtSuffix = ".doubt";

// A blob opened for reading.
struct OpenBlob {
  UniqueFd file;
  std::uint64_t bytes = 0;
};

std::filesystem::path blob_place(const std::filesystem::path& folder, const Digest& digest);
std::filesystem::path fresh_blob_place(const std::filesystem::path& folder, const Digest& digest);

// A blob, wherever it lies, also while the server moves it. Errors: kNotFound.
Result<OpenBlob> find_blob(const std::filesystem::path& folder, const Digest& digest);
// Told of bytes as they are read.
using BytesRead = std::function<void(std::uint64_t)>;
// The digest of a file's bytes, from the beginning. Errors: kInternal.
Result<Digest> hash_file(const UniqueFd& file, const std::filesystem::path& path,
                         const BytesRead& read = {});

struct BlobFile {
  Digest digest;
  std::filesystem::path path;
  std::uint64_t bytes = 0;
  TimePoint modified{};
};

struct BlobListing {
  std::vector<BlobFile> blobs;
  // Without digests.
  std::vector<BlobFile> temporaries;
  // Files that nothing of ours has made.
  std::vector<std::filesystem::path> strangers;
};

// Files that vanish meanwhile are left out. Errors: kInternal (cannot be listed).
Result<BlobListing> list_blobs(const std::filesystem::path& folder);

// Keeps every blob from being deleted while the descriptor is open. Waits for deletions under way.
Result<UniqueFd> hold_blobs(const std::filesystem::path& folder);

// The right to delete, for as long as it lives.
class DeletionTurn {
 public:
  // None while somebody holds the blobs. `lock` is DIR/hold, opened by open_hold(), and outlives
  // it.
  static std::optional<DeletionTurn> take(const UniqueFd& lock);
  ~DeletionTurn();
  DeletionTurn(DeletionTurn&& other) noexcept;
  DeletionTurn& operator=(DeletionTurn&&) = delete;

 private:
  explicit DeletionTurn(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

Result<UniqueFd> open_hold(const std::filesystem::path& folder);

}  // namespace mh::server
