// The load generator: `load_generator VERB --server HOST:PORT ...`. Driven by server_bench.py.
#include <CLI/CLI.hpp>
#include <iostream>

#include "tests/bench/load_verbs.h"

namespace {

std::chrono::milliseconds milliseconds_of(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Loads a manyhands-server and measures it; see tests/bench/server_bench.py");
  app.require_subcommand(1);
  mh::bench::LoadOptions options;
  std::string invitation;
  double seconds = 10;
  double warm_up_seconds = 2;
  const auto add_verb = [&](const char* name, const char* help) -> CLI::App& {
    CLI::App& verb = *app.add_subcommand(name, help);
    verb.add_option("--server", options.server, "HOST:PORT")->required();
    verb.add_option("--secrets", options.secrets_file, "secrets of hosts, one a line")->required();
    verb.add_option("--process", options.server_process, "the server's process id");
    verb.add_option("--updates", options.updates_file, "lines STEP HEX BYTES");
    verb.add_option("--connections", options.connections, "connections, or hosts to attach");
    verb.add_option("--seconds", seconds, "time that is measured");
    verb.add_option("--warm-up", warm_up_seconds, "seconds before that");
    return verb;
  };
  CLI::App& attach = add_verb("attach", "attaches hosts");
  attach.add_option("--invitation", invitation, "text of an invitation")->required();
  CLI::App& exchange = add_verb("exchange", "reports and asks in a closed loop");
  CLI::App& park = add_verb("park", "idle long polls");
  CLI::App& storm = add_verb("storm", "hosts come back at once; a line on stdin starts it");
  CLI11_PARSE(app, argc, argv);
  options.duration = milliseconds_of(seconds);
  options.warm_up = milliseconds_of(warm_up_seconds);
  mh::Status done;
  if (attach.parsed()) done = mh::bench::attach_hosts(options, invitation);
  if (exchange.parsed()) done = mh::bench::exchange(options);
  if (park.parsed()) done = mh::bench::park(options);
  if (storm.parsed()) done = mh::bench::return_at_once(options);
  if (done.has_value()) return 0;
  std::cerr << "load_generator: " << done.error().message << "\n";
  return 1;
}
