// See app.h.
#include "server/app.h"

#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <iostream>
#include <optional>
#include <thread>
#include <vector>

#include "proto/base/build_info.h"
#include "proto/base/bytes.h"
#include "proto/base/log.h"
#include "proto/base/options.h"
#include "proto/net/async.h"
#include "proto/net/http_server.h"
#include "proto/net/server_link.h"
#include "server/blob_access.h"
#include "server/blob_doors.h"
#include "server/core.h"
#include "server/descriptors.h"
#include "server/first_invitation.h"
#include "server/handlers.h"
#include "server/pages.h"
#include "server/secrets.h"
#include "server/server_folder.h"
#include "server/sqlite_store.h"
#include "server/tls_identity.h"

namespace mh::server {
namespace {

constexpr std::chrono::milliseconds kExpiryIntervalMax = std::chrono::minutes(10);
constexpr std::chrono::milliseconds kExpiryIntervalMin = std::chrono::seconds(1);
// After this a stop does not wait any longer for room to commit.
constexpr std::chrono::seconds kStopWithoutRoom{10};

// The end of an authority's certificate is told so long before.
constexpr std::chrono::hours kRenewalNotice(24 * 14);

Result<std::vector<ManifestPtr>> read_manifests(const BlobStore& blobs,
                                                const std::vector<DatasetRow>& rows) {
  std::vector<ManifestPtr> manifests;
  for (const DatasetRow& row : rows) {
    MH_TRY(const auto bytes, blobs.read(row.manifest, kManifestBytesMax));
    auto manifest = parse_manifest(as_text(bytes));
    if (!manifest) {
      return fail(Errc::kDataLoss, "data set \"" + row.name +
                                       "\": its manifest is damaged: " + manifest.error().message);
    }
    manifests.push_back(std::make_shared<const DatasetManifest>(*std::move(manifest)));
  }
  return manifests;
}

// Who listens everywhere is reached by the machine's name, as far as anybody here can tell.
std::string default_url(const HostPort& listen, std::uint16_t port, bool is_tls) {
  std::string host = listen.host;
  if (host == "0.0.0.0" || host == "::") host = certificate_names().front();
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  return (is_tls ? "https://" : "http://") + host + ":" + std::to_string(port);
}

Status check_listen(const ServerOptions& options, const std::string& host) {
  const bool is_plain = options.plain_http || options.insecure_http;
  if (is_plain && !options.tls_certificate.empty())
    return fail(Errc::kInvalidArgument,
                "--tls-certificate and plain HTTP do not go together: leave one of them away");
  if (options.tls_certificate.empty() != options.tls_key.empty())
    return fail(Errc::kInvalidArgument, "--tls-certificate and --tls-key need each other");
  if (!is_plain || options.insecure_http || net::is_loopback(host)) return {};
  return fail(Errc::kInvalidArgument,
              "--plain-http and --listen " + options.listen +
                  ": secrets would travel readable beyond this machine. Leave --plain-http away, "
                  "and the server speaks TLS with a certificate of its own; or say "
                  "--insecure-http on a network that you trust");
}

// Says what clients that go by an authority will stumble over.
void watch_dates(const TlsIdentity& identity, TimePoint now) {
  if (identity.pin() || identity.facts.end > now + kRenewalNotice) return;
  log_warn(identity.facts.end > now ? "the TLS certificate expires soon: renew it"
                                    : "the TLS certificate has expired: clients refuse it",
           {{"hours_left",
             std::chrono::duration_cast<std::chrono::hours>(identity.facts.end - now).count()}});
}

// Every connection may have a call under way: most of them are held.
net::HttpServerOptions http_limits(const ServerOptions& options) {
  net::HttpServerOptions limits;
  const std::size_t descriptors = raise_descriptor_limit();
  limits.connections_max = connections_within(descriptors, options.connections_max);
  if (limits.connections_max < options.connections_max)
    log_warn("fewer connections than wanted: the process may not have enough files open",
             {{"connections_max", limits.connections_max},
              {"wanted", options.connections_max},
              {"descriptors", descriptors}});
  limits.has_one_io_thread = options.io_threads == 1;
  limits.connections_per_address_max = options.connections_per_address_max;
  limits.calls_max = limits.connections_max;
  limits.calls_per_address_max = options.connections_per_address_max;
  return limits;
}

void log_failure(std::exception_ptr failure) {
  if (failure == nullptr) return;
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& error) {
    log_error("stopping failed", {{"error", error.what()}});
  }
}

}  // namespace

// In construction order; destroyed from the last to the first.
struct App::Parts {
  explicit Parts(const ServerOptions& server_options)
      : options(server_options),
        folder{server_options.folder},
        io(static_cast<int>(options.io_threads)) {}

  const ServerOptions options;
  const ServerFolder folder;
  HostPort listen;
  // How volunteers reach this server; known once it listens.
  PublicAddress address;
  // Nothing: plain HTTP.
  std::optional<TlsIdentity> tls;
  std::optional<NewInvitation> invitation;
  SystemClock clock;
  UniqueFd lock;
  // Handlers that are still queued are destroyed with it, after everything that they refer to has
  // stopped using threads.
  asio::io_context io;
  // One io thread is a strand by itself.
  const asio::any_io_executor strand = options.io_threads == 1
                                           ? asio::any_io_executor(io.get_executor())
                                           : asio::any_io_executor(asio::make_strand(io));
  std::optional<SigningKey> signing_key;
  std::unique_ptr<DiskWatch> disk;
  std::unique_ptr<BlobStore> blobs;
  std::unique_ptr<UploadStore> uploads;
  HostUploads host_uploads;
  std::unique_ptr<SqliteStore> store;
  std::unique_ptr<asio::thread_pool> pool;
  std::unique_ptr<Core> core;
  std::unique_ptr<net::HttpServer> http;

  Status open_tls();
  Status open_core();
  void add_doors();
  void add_services();
  Status announce(std::uint16_t port);
  void serve();
  asio::awaitable<void> stop();
  asio::awaitable<void> expire_uploads();
  asio::awaitable<void> watch_disk();
};

Status App::Parts::open_tls() {
  if (options.plain_http || options.insecure_http) return {};
  MH_TRY(tls, options.tls_certificate.empty()
                  ? open_tls_identity(folder, certificate_names(), clock.now())
                  : read_tls_identity(options.tls_certificate, options.tls_key));
  watch_dates(*tls, clock.now());
  address.fingerprint = tls->pin();
  return {};
}

Status App::Parts::open_core() {
  MH_TRY(lock, lock_server_folder(folder));
  MH_TRY_VOID(open_tls());
  MH_TRY(signing_key, open_signing_key(folder));
  disk = std::make_unique<DiskWatch>(posix_disk(), folder.blobs(), options.disk_reserve_bytes);
  MH_TRY(BlobStore blob_store, BlobStore::open(folder.blobs(), *disk));
  blobs = std::make_unique<BlobStore>(std::move(blob_store));
  disk->look();
  UploadLimits limits;
  limits.publishes_fresh = is_host_owner;
  limits.lifetime = options.upload_lifetime;
  limits.count_per_owner_max = options.uploads_per_owner;
  limits.bytes_per_owner_max = options.upload_bytes_per_owner;
  MH_TRY(uploads, UploadStore::open(folder.uploads(), *blobs, limits, clock.now(), *disk));
  MH_TRY(store, SqliteStore::open(folder.database()));
  store->on_stall([watch = disk.get()](bool is_stalled) { watch->store_stalls(is_stalled); });
  MH_TRY(ServerSnapshot snapshot, store->load());
  if (!disk->state().is_degraded) {
    MH_TRY(invitation, open_first_invitation(folder, *store, snapshot.accounts, clock.now()));
  }
  MH_TRY(std::vector<ManifestPtr> manifests, read_manifests(*blobs, snapshot.datasets));
  pool = std::make_unique<asio::thread_pool>(options.pool_threads);
  CoreLimits core_limits;
  core_limits.commits_max = options.commits_max;
  core_limits.held_calls_max = options.held_calls_max;
  const CoreParts parts{*store,       *blobs, host_uploads,         *disk,       clock,
                        *signing_key, strand, pool->get_executor(), core_limits, options.run_by};
  scheduler::CoordinatorOptions rules;
  rules.checkpoints_kept = options.checkpoints_kept;
  rules.checkpoint_every = options.checkpoint_every;
  // A fresh one at each start serves as well: no draw is made twice.
  rules.check_key = std::stoull(random_hex(8), nullptr, 16);
  rules.steps_retained = options.keep_steps;
  rules.retained_bytes_max = options.keep_bytes;
  rules.pseudonym_secret = signing_key->derive("manyhands pseudonyms");
  core = std::make_unique<Core>(parts, std::move(snapshot), std::move(manifests), rules);
  net::HttpServerOptions http_options = http_limits(options);
  if (tls) {
    http_options.tls_certificate_pem = tls->certificate_pem;
    http_options.tls_key_pem = tls->key_pem;
  }
  http = std::make_unique<net::HttpServer>(io.get_executor(), pool->get_executor(), http_options);
  return {};
}

void App::Parts::add_doors() {
  http->set_blobs(std::make_shared<BlobDoor>(*blobs));
  auto note_upload = [this](const std::string& owner, const Digest& blob) {
    if (is_host_owner(owner)) host_uploads.add(blob);
  };
  auto authorise = [this](std::string token, std::string) {
    return authorise_upload(*core, std::move(token));
  };
  http->set_uploads(std::make_shared<UploadDoor>(*uploads, *disk, clock, note_upload), authorise);
  auto count = [this](std::string token, Digest blob, std::uint64_t bytes) {
    count_download(*core, std::move(token), blob, bytes);
  };
  http->set_download_observer(count);
}

void App::Parts::add_services() {
  net::ServiceTable services;
  add_work_service(services, *core);
  add_job_service(services, *core);
  add_record_calls(services, *core);
  add_rewind_calls(services, *core);
  add_dataset_service(services, *core);
  add_host_service(services, *core);
  add_model_service(services, *core);
  add_account_service(services, *core, address);
  add_server_service(services, *core);
  http->set_services(std::move(services));
  add_pages(*http, *core, *store, *uploads);
}

Status App::Parts::announce(std::uint16_t port) {
  std::cout << "Manyhands server " << kVersion << ", id " << core->server_id() << "\n"
            << "  URL                " << address.url << "\n"
            << "  a volunteer joins  "
            << (invitation ? join_line(address, invitation->text)
                           : std::string("ask for a line: manyhands account invite"))
            << "\n";
  if (invitation)
    std::cout << "                     (good for "
              << invitation->row.use_count_max - invitation->row.use_count << " computers until "
              << utc_text(invitation->row.expires) << "; 'manyhands account invite' makes more)\n";
  std::cout << "  you log in         manyhands login '"
            << net::server_link(address.url, "", address.fingerprint) << "' --token-file "
            << folder.admin_token().string() << "\n"
            << std::flush;
  if (options.port_file.empty()) return {};
  return write_file_atomically(options.port_file, std::to_string(port) + "\n");
}

asio::awaitable<void> App::Parts::expire_uploads() {
  asio::steady_timer timer(strand);
  const std::chrono::milliseconds interval =
      std::clamp(options.upload_lifetime / 8, kExpiryIntervalMin, kExpiryIntervalMax);
  for (;;) {
    timer.expires_after(interval);
    co_await timer.async_wait(asio::use_awaitable);
    asio::post(*pool, [this] {
      const std::size_t count = uploads->remove_expired(clock.now());
      if (count > 0) log_info("unfinished uploads expired", {{"count", count}});
    });
  }
}

asio::awaitable<void> App::Parts::watch_disk() {
  asio::steady_timer timer(strand);
  auto look = [this] {
    disk->look();
    return disk->state();
  };
  for (;;) {
    timer.expires_after(DiskWatch::kLookInterval);
    co_await timer.async_wait(asio::use_awaitable);
    co_await net::run_on(pool->get_executor(), look);
  }
}

asio::awaitable<void> App::Parts::stop() {
  core->stop();
  co_await http->stop();
  asio::steady_timer patience(strand, kStopWithoutRoom);
  patience.async_wait([this](const boost::system::error_code& error) {
    if (error || !disk->state().is_stalled) return;
    log_error(
        "stopping without the last transitions: there is no room for them, and nobody was "
        "told of them");
    ::_exit(kExitFailed);
  });
  co_await core->settled();
  io.stop();
}

void App::Parts::serve() {
  asio::signal_set signals(io, SIGTERM, SIGINT);
  signals.async_wait([this, &signals](const boost::system::error_code& error, int number) {
    if (error) return;
    log_info("stopping", {{"signal", number}});
    // Impatience is safe: nothing that was acknowledged is lost.
    signals.async_wait([](const boost::system::error_code& again, int) {
      if (!again) ::_exit(1);
    });
    asio::co_spawn(strand, stop(), log_failure);
  });
  asio::co_spawn(strand, expire_uploads(), [](std::exception_ptr) {});
  asio::co_spawn(strand, watch_disk(), [](std::exception_ptr) {});
  const auto work = asio::make_work_guard(io);
  std::vector<std::thread> threads;
  for (unsigned i = 1; i < options.io_threads; ++i) threads.emplace_back([this] { io.run(); });
  io.run();
  for (std::thread& thread : threads) thread.join();
  pool->join();
}

Result<std::unique_ptr<App>> App::open(const ServerOptions& options) {
  auto parts = std::make_unique<Parts>(options);
  MH_TRY(parts->listen, parse_host_port(options.listen));
  MH_TRY_VOID(check_listen(options, parts->listen.host));
  MH_TRY_VOID(parts->open_core());
  parts->add_doors();
  return std::unique_ptr<App>(new App(std::move(parts)));
}

App::App(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
App::~App() = default;

Status App::run() {
  Parts& parts = *parts_;
  parts.add_services();
  asio::post(parts.strand, [&parts] { parts.core->start(); });
  // Nothing is served before the threads run, so the URL may still be found out here.
  MH_TRY(const std::uint16_t port, parts.http->start(parts.listen.host, parts.listen.port));
  parts.address.url = parts.options.public_url.empty()
                          ? default_url(parts.listen, port, parts.tls.has_value())
                          : parts.options.public_url;
  MH_TRY_VOID(parts.announce(port));
  log_info("server runs", {{"url", parts.address.url}, {"folder", parts.folder.root.string()}});
  parts.serve();
  log_info("server stopped");
  return {};
}

}  // namespace mh::server
