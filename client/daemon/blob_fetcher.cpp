// See blob_fetcher.h.
#include "client/daemon/blob_fetcher.h"

#include <fcntl.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fstream>

#include "proto/base/dataset_manifest.h"
#include "proto/base/file.h"
#include "proto/base/log.h"
#include "proto/base/options.h"

namespace mh::client {
namespace asio = boost::asio;
namespace {

constexpr std::size_t kVerifyPieceBytes = 1024 * 1024;
constexpr std::uint64_t kJobBytesMax = 4 * 1024 * 1024;
constexpr std::uint64_t kParametersBytesMax = 4ull << 30;

std::uint64_t bytes_max_of(BlobKind kind) {
  switch (kind) {
    case BlobKind::kJob:
      return kJobBytesMax;
    case BlobKind::kParameters:
      return kParametersBytesMax;
    case BlobKind::kManifest:
      return kManifestBytesMax;
    case BlobKind::kChunk:
      return kChunkBytesMax;
  }
  return kJobBytesMax;
}

}  // namespace

Result<ManifestChunks> read_manifest(const std::filesystem::path& path) {
  MH_TRY(const std::string text, read_file(path, kManifestBytesMax));
  MH_TRY(const DatasetManifest manifest, parse_manifest(text));
  ManifestChunks chunks;
  for (const auto& [name, split] : manifest.splits) {
    for (const ChunkInfo& chunk : split.chunks) chunks[name].push_back({chunk.digest, chunk.bytes});
  }
  return chunks;
}

std::map<Digest, ManifestChunks> find_manifests(const WorkCache& cache) {
  std::map<Digest, ManifestChunks> manifests;
  for (const Digest& digest : cache.digests()) {
    const auto path = cache.path(digest);
    // A look at the first byte spares reading the data.
    if (std::ifstream(path, std::ios::binary).peek() != '{') continue;
    const auto text = read_file(path, kManifestBytesMax);
    if (!text.has_value() || sha256(*text) != digest) continue;
    auto chunks = read_manifest(path);
    if (chunks.has_value()) manifests.emplace(digest, *std::move(chunks));
  }
  return manifests;
}

BlobFetcher::BlobFetcher(asio::any_io_executor executor, const net::Url& server,
                         const net::HttpClientOptions& options, WorkCache& cache, Handlers handlers)
    : executor_(executor), cache_(cache), handlers_(std::move(handlers)) {
  for (Lane& lane : lanes_)
    lane.client = std::make_unique<net::HttpClient>(executor, server, options);
}

void BlobFetcher::start(const StartDownload& download) {
  (download.kind == BlobKind::kChunk ? chunks_ : small_).push_back(download);
  start_lanes();
}

void BlobFetcher::start_lanes() {
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    std::deque<StartDownload>& queue = i == 0 ? small_ : chunks_;
    if (lanes_[i].is_busy || queue.empty()) continue;
    lanes_[i].is_busy = true;
    StartDownload download = queue.front();
    queue.pop_front();
    asio::co_spawn(executor_, work(i, download), asio::detached);
  }
}

asio::awaitable<void> BlobFetcher::work(std::size_t lane, StartDownload download) {
  const Status status = co_await bring(lane, download);
  lanes_[lane].is_busy = false;
  // Data is fetched once in a while: no connection is held open for it.
  if (lane > 0 && chunks_.empty()) lanes_[lane].client->close();
  end(download, status);
  start_lanes();
}

asio::awaitable<Status> BlobFetcher::bring(std::size_t lane, StartDownload download) {
  const Digest digest = download.digest;
  if (cache_.contains(digest)) {
    if (!cache_.needs_verification(digest)) co_return Status();
    const bool is_good = co_await verify(digest);
    if (is_good) {
      cache_.set_verified(digest);
      co_return Status();
    }
    log_warn("a blob in the cache was damaged: fetching it again", {{"blob", digest.hex()}});
    cache_.remove(digest);
  }
  for (const Digest& evicted : cache_.shrink(handlers_.is_needed)) handlers_.on_evicted(evicted);
  if (cache_.bytes() >= cache_.bytes_max())
    co_return fail(Errc::kResourceExhausted,
                   "the cache is full of data in use: its limit of " +
                       format_byte_size(cache_.bytes_max()) +
                       " is too small for this work; raise it with --cache-bytes");
  net::DownloadOptions options;
  options.bytes_max = bytes_max_of(download.kind);
  auto path = cache_.path(digest);
  auto report = co_await lanes_[lane].client->download(digest, std::move(path), std::move(options));
  if (!report.has_value()) co_return report.error();
  co_return cache_.add(digest);
}

// Hashes a file piece by piece; other work of this thread goes on in between.
asio::awaitable<bool> BlobFetcher::verify(Digest digest) {
  const auto path = cache_.path(digest);
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) co_return false;
  Sha256 hash;
  std::vector<std::byte> piece(kVerifyPieceBytes);
  while (true) {
    const ssize_t count = ::read(file.get(), piece.data(), piece.size());
    if (count < 0) co_return false;
    if (count == 0) break;
    hash.update(std::span(piece).first(static_cast<std::size_t>(count)));
    co_await asio::post(executor_, asio::use_awaitable);
  }
  co_return hash.finish() == digest;
}

void BlobFetcher::end(const StartDownload& download, const Status& status) {
  if (!status.has_value()) return handlers_.on_failed(download.digest, status.error());
  if (download.kind != BlobKind::kManifest) return handlers_.on_done(download.digest, nullptr);
  const auto chunks = read_manifest(cache_.path(download.digest));
  if (chunks.has_value()) return handlers_.on_done(download.digest, &*chunks);
  handlers_.on_failed(download.digest,
                      fail(Errc::kInvalidArgument, "manifest: " + chunks.error().message));
}

void BlobFetcher::close() {
  for (Lane& lane : lanes_) lane.client->close();
}

std::uint64_t BlobFetcher::bytes_received() const {
  std::uint64_t bytes = 0;
  for (const Lane& lane : lanes_) bytes += lane.client->bytes_received();
  return bytes;
}

}  // namespace mh::client
