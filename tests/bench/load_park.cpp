// `park`: idle long polls, and the memory that they cost the server. See load_verbs.h.
#include <fstream>
#include <iostream>
#include <vector>

#include "manyhands/v1/work.pb.h"
#include "tests/bench/load_loop.h"
#include "tests/bench/load_report.h"
#include "tests/bench/load_verbs.h"

namespace mh::bench {
namespace {

constexpr std::uint32_t kMaxWaitMs = 25'000;
// Connections made at a time: the queue of a listener is finite.
constexpr std::size_t kConnectingMax = 256;

// Resident memory of a process in bytes.
double resident_bytes(int process) {
  std::ifstream stream("/proc/" + std::to_string(process) + "/status");
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with("VmRSS:")) return std::stod(line.substr(6)) * 1024;
  }
  return 0;
}

}  // namespace

Status park(const LoadOptions& options) {
  MH_TRY(LoadLoop loop, LoadLoop::make(options.server));
  MH_TRY(const std::vector<std::string> secrets, read_secrets(options.secrets_file));
  manyhands::v1::ExchangeRequest request;
  request.set_wanted_count(1);
  request.set_max_wait_ms(kMaxWaitMs);
  std::size_t answered = 0;
  std::size_t refused = 0;
  const auto ask = [&](std::size_t connection) {
    CallText call(options.server, "WorkService/Exchange", secrets[connection % secrets.size()]);
    loop.send(connection, call.with(request));
  };
  const auto on_reply = [&](std::size_t connection, const Reply& reply) {
    ++answered;
    if (reply.status == 200) return ask(connection);
    if (++refused < 4) std::cerr << "park: HTTP " << reply.status << " " << reply.body << "\n";
  };
  loop.set_handlers({on_reply, ask});
  const double before = resident_bytes(options.server_process);
  while (loop.size() < options.connections) {
    for (std::size_t i = 0; i < kConnectingMax && loop.size() < options.connections; ++i)
      ask(loop.add());
    loop.run(LoadClock::now() + std::chrono::milliseconds(50));
  }
  loop.run(LoadClock::now() + options.warm_up);
  const double held = resident_bytes(options.server_process);
  const std::size_t answered_early = answered;
  const double cpu_before = cpu_seconds(options.server_process);
  loop.run(LoadClock::now() + options.duration);
  const double later = resident_bytes(options.server_process);
  const auto count = static_cast<double>(options.connections);
  std::size_t open = 0;
  for (std::size_t i = 0; i < loop.size(); ++i) open += loop.is_open(i) ? 1 : 0;
  print_report({{"connections_open", static_cast<double>(open)},
                {"refused", static_cast<double>(refused)},
                {"answered_early", static_cast<double>(answered_early)},
                {"answered", static_cast<double>(answered)},
                {"bytes_per_connection", (held - before) / count},
                {"bytes_per_connection_later", (later - before) / count},
                {"server_cpu_seconds", cpu_seconds(options.server_process) - cpu_before}});
  return {};
}

}  // namespace mh::bench
