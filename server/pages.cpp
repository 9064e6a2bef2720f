// See pages.h.
#include "server/pages.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "server/metrics.h"
#include "server/status_page.h"

namespace mh::server {
namespace {

asio::awaitable<net::HttpResponse> dashboard() {
  net::HttpResponse response;
  response.headers.add("Content-Type", "text/html; charset=utf-8");
  response.headers.add("Content-Security-Policy", std::string(status_page_policy()));
  response.headers.add("X-Content-Type-Options", "nosniff");
  response.headers.add("Referrer-Policy", "no-referrer");
  response.headers.add("Cache-Control", "no-cache");
  response.body = status_page();
  co_return response;
}

// Degraded is no reason to send callers elsewhere: there is no other server.
asio::awaitable<net::HttpResponse> health(const DiskWatch& disk) {
  const DiskState state = disk.state();
  co_return net::plain_text_response(200, state.is_degraded ? "degraded: " + state.sentence : "ok");
}

// On the state strand.
asio::awaitable<MetricsSample> look(Core& core) {
  MetricsSample sample;
  sample.jobs = core.coordinator().jobs(core.now());
  sample.active_hosts = core.active_host_count();
  for (const scheduler::HostView& host : core.coordinator().hosts()) {
    if (!host.row.is_detached) ++sample.attached_hosts;
  }
  sample.parked_calls = core.parked().count();
  co_return sample;
}

asio::awaitable<net::HttpResponse> metrics(net::HttpServer& http, Core& core, SqliteStore& store,
                                           UploadStore& uploads) {
  MetricsSample sample = co_await asio::co_spawn(core.strand(), look(core), asio::use_awaitable);
  sample.http = http.stats();
  sample.store = store.counts();
  sample.unfinished_uploads = uploads.count();
  sample.disk = core.disk().state();
  net::HttpResponse response;
  response.headers.add("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
  response.body = metrics_text(sample);
  co_return response;
}

}  // namespace

void add_pages(net::HttpServer& http, Core& core, SqliteStore& store, UploadStore& uploads) {
  http.add_page("/", [](net::HttpRequest) { return dashboard(); });
  http.add_page("/healthz", [&core](net::HttpRequest) { return health(core.disk()); });
  auto measure = [&http, &core, &store, &uploads](net::HttpRequest) {
    return metrics(http, core, store, uploads);
  };
  http.add_page("/metrics", measure);
}

}  // namespace mh::server
