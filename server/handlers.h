// The services of proto/manyhands/v1, each in a file of its own: who may call, is the message
// sound, what does the core decide, what is the reply.
#pragma once

#include <optional>
#include <string>

#include "proto/base/sha256.h"
#include "proto/net/http_server.h"

namespace mh::server {

class Core;

// How others reach the server and know it again.
struct PublicAddress {
  std::string url;
  // Nothing: by an authority, or not at all (plain HTTP).
  std::optional<Digest> fingerprint;
};

// Each adds its methods; `core` must outlive the table.
void add_work_service(net::ServiceTable& table, Core& core);
void add_job_service(net::ServiceTable& table, Core& core);
void add_record_calls(net::ServiceTable& table, Core& core);
void add_rewind_calls(net::ServiceTable& table, Core& core);
void add_dataset_service(net::ServiceTable& table, Core& core);
void add_host_service(net::ServiceTable& table, Core& core);
void add_model_service(net::ServiceTable& table, Core& core);
// `address` stands in join lines; it is read at each call and must outlive the table.
void add_account_service(net::ServiceTable& table, Core& core, const PublicAddress& address);
void add_server_service(net::ServiceTable& table, Core& core);

// What a volunteer types to join.
std::string join_line(const PublicAddress& address, const std::string& invitation);

}  // namespace mh::server
