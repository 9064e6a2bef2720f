// GET /metrics: what the server does, in Prometheus' text format. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proto/net/http_server.h"
#include "scheduler/events.h"
#include "server/disk_watch.h"
#include "server/sqlite_store.h"

namespace mh::server {

// One look at the whole server.
struct MetricsSample {
  net::HttpServerStats http;
  SqliteStore::Counts store;
  std::vector<scheduler::JobView> jobs;
  std::uint32_t active_hosts = 0;
  std::uint64_t attached_hosts = 0;
  std::size_t parked_calls = 0;
  std::size_t unfinished_uploads = 0;
  DiskState disk;
};

std::string metrics_text(const MetricsSample& sample);

}  // namespace mh::server
