// Brings blobs into the cache: verifies those of earlier runs before their first use, downloads the
// others (resuming partial files), keeps the cache within its limit. Parameters never queue behind
// data chunks: they have a connection of their own.
// Threads: the io_context's one thread; `on_end` is called on it.
#pragma once

#include <array>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <deque>
#include <functional>
#include <memory>

#include "client/daemon/host_types.h"
#include "client/daemon/work_cache.h"
#include "proto/net/http_client.h"

namespace mh::client {

class BlobFetcher {
 public:
  struct Handlers {
    /// The blob is in the cache, verified; for a manifest with its chunks.
    std::function<void(const Digest&, const ManifestChunks*)> on_done;
    std::function<void(const Digest&, const Error&)> on_failed;
    std::function<bool(const Digest&)> is_needed;
    std::function<void(const Digest&)> on_evicted;
  };

  BlobFetcher(boost::asio::any_io_executor executor, const net::Url& server,
              const net::HttpClientOptions& options, WorkCache& cache, Handlers handlers);

  void start(const StartDownload& download);
  void close();
  std::uint64_t bytes_received() const;

 private:
  // Lane 0 is for all but chunks.
  static constexpr std::size_t kLaneCount = 3;
  struct Lane {
    std::unique_ptr<net::HttpClient> client;
    bool is_busy = false;
  };

  void start_lanes();
  boost::asio::awaitable<void> work(std::size_t lane, StartDownload download);
  boost::asio::awaitable<Status> bring(std::size_t lane, StartDownload download);
  boost::asio::awaitable<bool> verify(Digest digest);
  void end(const StartDownload& download, const Status& status);

  const boost::asio::any_io_executor executor_;
  WorkCache& cache_;
  const Handlers handlers_;
  std::array<Lane, kLaneCount> lanes_;
  std::deque<StartDownload> small_;
  std::deque<StartDownload> chunks_;
};

/// Reads a manifest from the cache. Errors: as parse_manifest().
Result<ManifestChunks> read_manifest(const std::filesystem::path& path);

/// The manifests among the blobs in the cache, verified: the data sets that this host holds.
std::map<Digest, ManifestChunks> find_manifests(const WorkCache& cache);

}  // namespace mh::client
