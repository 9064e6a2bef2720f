// `attach`: makes hosts. See load_verbs.h.
#include <algorithm>
#include <fstream>
#include <iostream>
#include <vector>

#include "manyhands/v1/work.pb.h"
#include "proto/base/bytes.h"
#include "proto/base/random.h"
#include "tests/bench/load_loop.h"
#include "tests/bench/load_report.h"
#include "tests/bench/load_verbs.h"

namespace mh::bench {
namespace {

constexpr std::size_t kSecretBytes = 32;
constexpr std::size_t kConnections = 64;

}  // namespace

Status attach_hosts(const LoadOptions& options, const std::string& invitation) {
  MH_TRY(LoadLoop loop, LoadLoop::make(options.server));
  std::vector<std::string> secrets;
  for (std::size_t i = 0; i < options.connections; ++i)
    secrets.push_back(to_base64url(secure_random_bytes(kSecretBytes)));
  CallText call(options.server, "WorkService/Attach", invitation);
  std::size_t sent = 0;
  std::size_t done = 0;
  std::size_t refused = 0;
  std::uint64_t first_host = UINT64_MAX;
  std::uint64_t last_host = 0;
  const auto send_next = [&](std::size_t connection) {
    if (sent == secrets.size()) return;
    manyhands::v1::AttachRequest request;
    request.set_protocol_version(1);
    request.set_host_secret(secrets[sent]);
    auto& description = *request.mutable_description();
    description.set_name("load-" + std::to_string(sent));
    description.set_platform("linux-x86_64");
    description.set_client_version("0.1.0");
    description.set_device("cpu");
    description.set_device_model("load generator");
    description.set_threads(1);
    ++sent;
    loop.send(connection, call.with(request));
  };
  const auto on_reply = [&](std::size_t connection, const Reply& reply) {
    if (reply.status != 200 && ++refused < 4)
      std::cerr << "attach: HTTP " << reply.status << " " << reply.body << "\n";
    manyhands::v1::AttachResponse attached;
    if (attached.ParseFromArray(reply.body.data(), static_cast<int>(reply.body.size()))) {
      first_host = std::min(first_host, attached.host_id());
      last_host = std::max(last_host, attached.host_id());
    }
    if (++done == secrets.size()) loop.stop();
    send_next(connection);
  };
  loop.set_handlers({on_reply, {}});
  for (std::size_t i = 0; i < kConnections; ++i) send_next(loop.add());
  loop.run(LoadClock::now() + std::chrono::minutes(5));
  if (refused > 0 || done < secrets.size())
    return fail(Errc::kUnavailable,
                std::to_string(secrets.size() - done + refused) + " hosts could not be attached");
  std::ofstream stream(options.secrets_file);
  for (const std::string& secret : secrets) stream << secret << "\n";
  print_report({{"hosts", static_cast<double>(done)},
                {"first_host", static_cast<double>(first_host)},
                {"last_host", static_cast<double>(last_host)}});
  return {};
}

}  // namespace mh::bench
