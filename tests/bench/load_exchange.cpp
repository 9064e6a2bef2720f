// `exchange`: hosts that report and ask in one call, in a closed loop. See load_verbs.h.
#include <iostream>
#include <map>
#include <optional>
#include <vector>

#include "manyhands/v1/work.pb.h"
#include "tests/bench/load_loop.h"
#include "tests/bench/load_report.h"
#include "tests/bench/load_verbs.h"

namespace mh::bench {
namespace {

namespace v1 = manyhands::v1;

constexpr std::uint32_t kMaxWaitMs = 25'000;

// A host on its connection.
struct Host {
  CallText call;
  v1::ExchangeRequest request;
  LoadClock::time_point sent_at{};
  // Step of the gradient that the call on its way reports.
  std::optional<std::uint64_t> reported_step;
};

// What happened in the measured time.
struct Counts {
  std::uint64_t exchanges = 0;
  std::uint64_t polls = 0;
  std::uint64_t refused = 0;
  double cpu_seconds = 0;
  double seconds = 0;
  Times latency;
};

class ExchangeLoad {
 public:
  ExchangeLoad(const LoadOptions& options, LoadLoop loop, std::vector<std::string> secrets,
               Updates updates)
      : options_(options), loop_(std::move(loop)), updates_(std::move(updates)) {
    for (std::size_t i = 0; i < options.connections; ++i) {
      loop_.add();
      hosts_.push_back(
          Host{CallText(options.server, "WorkService/Exchange", secrets[i % secrets.size()]),
               {},
               {},
               {}});
    }
  }

  void run() {
    loop_.set_handlers({[this](std::size_t index, const Reply& reply) { take(index, reply); },
                        [this](std::size_t index) { send(index); }});
    for (std::size_t i = 0; i < hosts_.size(); ++i) {
      hosts_[i].request.set_wanted_count(1);
      hosts_[i].request.set_max_wait_ms(kMaxWaitMs);
      send(i);
    }
    loop_.run(LoadClock::now() + options_.warm_up);
    counts_ = Counts{};
    step_times_ = Times{};
    const double cpu_before = cpu_seconds(options_.server_process);
    const auto begin = LoadClock::now();
    loop_.run(begin + options_.duration);
    counts_.seconds = std::chrono::duration<double>(LoadClock::now() - begin).count();
    counts_.cpu_seconds = cpu_seconds(options_.server_process) - cpu_before;
  }

  void print() {
    const auto exchanges = static_cast<double>(counts_.exchanges);
    Report report = {{"exchanges", exchanges},
                     {"seconds", counts_.seconds},
                     {"exchanges_per_second", exchanges / counts_.seconds},
                     {"polls", static_cast<double>(counts_.polls)},
                     {"refused", static_cast<double>(counts_.refused)},
                     {"server_cpu_seconds", counts_.cpu_seconds}};
    if (counts_.exchanges > 0 && counts_.cpu_seconds > 0) {
      report.emplace_back("server_cpu_us_per_exchange", counts_.cpu_seconds * 1e6 / exchanges);
      report.emplace_back("exchanges_per_cpu_second", exchanges / counts_.cpu_seconds);
    }
    add_times(report, "latency", counts_.latency);
    add_times(report, "step", step_times_);
    print_report(report);
  }

 private:
  void send(std::size_t index) {
    Host& host = hosts_[index];
    host.sent_at = LoadClock::now();
    if (host.reported_step) last_report_[*host.reported_step] = host.sent_at;
    loop_.send(index, host.call.with(host.request));
  }

  void take(std::size_t index, const Reply& reply) {
    if (reply.status != 200 ||
        !response_.ParseFromArray(reply.body.data(), static_cast<int>(reply.body.size()))) {
      if (++counts_.refused < 4)
        std::cerr << "exchange: HTTP " << reply.status << " " << reply.body << "\n";
      // The same again, as after a lost reply; not at once, or a broken server is flooded.
      return loop_.call_at(LoadClock::now() + std::chrono::milliseconds(100), index);
    }
    count(hosts_[index]);
    prepare(hosts_[index]);
    send(index);
  }

  // An exchange is a call whose report was taken and that brought the next workunit.
  void count(const Host& host) {
    const bool is_valid =
        response_.verdicts_size() == 1 && response_.verdicts(0).verdict() == v1::VERDICT_VALID;
    if (host.request.reports_size() == 1 && !is_valid && ++counts_.refused < 4)
      std::cerr << "exchange: " << response_.ShortDebugString() << "\n";
    if (!is_valid || response_.assignments_size() == 0) {
      ++counts_.polls;
      return;
    }
    ++counts_.exchanges;
    counts_.latency.add(LoadClock::now() - host.sent_at);
  }

  void prepare(Host& host) {
    host.request.clear_reports();
    host.reported_step.reset();
    for (const v1::Assignment& work : response_.assignments()) {
      v1::ResultReport& report = *host.request.add_reports();
      report.set_result_id(work.result_id());
      report.set_outcome(v1::OUTCOME_SUCCESS);
      report.set_loss_sum(0.5);
      report.set_compute_ms(1);
      if (host.request.holdings_size() == 0) {
        v1::DatasetHolding& holding = *host.request.add_holdings();
        holding.set_manifest_digest(work.manifest_digest());
        holding.set_chunk_count(1);
      }
      if (work.kind() != v1::WORK_KIND_GRADIENT) continue;
      note_step(work.step());
      host.reported_step = work.step();
      name_update(updates_, work.step(), report);
    }
  }

  // The first lease of a step: how long after the last report of the step before it was sent?
  void note_step(std::uint64_t step) {
    if (step <= newest_step_) return;
    newest_step_ = step;
    if (const auto last = last_report_.find(step - 1); last != last_report_.end())
      step_times_.add(LoadClock::now() - last->second);
    last_report_.clear();
  }

  const LoadOptions& options_;
  LoadLoop loop_;
  const Updates updates_;
  std::vector<Host> hosts_;
  v1::ExchangeResponse response_;
  Counts counts_;
  std::map<std::uint64_t, LoadClock::time_point> last_report_;
  std::uint64_t newest_step_ = 0;
  Times step_times_;
};

}  // namespace

Status exchange(const LoadOptions& options) {
  MH_TRY(LoadLoop loop, LoadLoop::make(options.server));
  MH_TRY(std::vector<std::string> secrets, read_secrets(options.secrets_file));
  MH_TRY(Updates updates, read_updates(options.updates_file));
  ExchangeLoad load(options, std::move(loop), std::move(secrets), std::move(updates));
  load.run();
  load.print();
  return {};
}

}  // namespace mh::bench
