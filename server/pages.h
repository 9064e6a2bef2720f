// GET pages: the dashboard, health, metrics.
#pragma once

#include "proto/net/http_server.h"
#include "server/core.h"
#include "server/sqlite_store.h"
#include "server/upload_store.h"

namespace mh::server {

// All must outlive the server.
void add_pages(net::HttpServer& http, Core& core, SqliteStore& store, UploadStore& uploads);

}  // namespace mh::server
