// `storm`: hosts that lost the server come back at once, while somebody asks how the server is. See
// load_verbs.h.
#include <atomic>
#include <iostream>
#include <thread>
#include <vector>

#include "manyhands/v1/admin.pb.h"
#include "manyhands/v1/work.pb.h"
#include "proto/net/backoff.h"
#include "tests/bench/load_loop.h"
#include "tests/bench/load_report.h"
#include "tests/bench/load_verbs.h"

namespace mh::bench {
namespace {

namespace v1 = manyhands::v1;

constexpr std::uint32_t kMaxWaitMs = 25'000;
constexpr std::size_t kConnectingMax = 256;
constexpr auto kPatience = std::chrono::seconds(120);
// The watcher: a call every so often, whether the one before it is answered or not.
constexpr auto kWatchInterval = std::chrono::milliseconds(5);
constexpr std::size_t kWatchSlots = 512;
// Hosts come from several addresses, as volunteers do.
constexpr std::size_t kHostsPerAddress = 1'000;

// Calls GetStatus from an address of its own, in turns on a kept and on a fresh connection.
class Watcher {
 public:
  explicit Watcher(LoadLoop loop)
      : loop_(std::move(loop)), call_(loop_.server(), "ServerService/GetStatus", "") {
    for (std::size_t i = 0; i < kWatchSlots; ++i) loop_.add(250);
    sent_at_.resize(kWatchSlots);
    is_busy_.resize(kWatchSlots);
  }

  void run(const std::atomic<bool>& is_over) {
    loop_.set_handlers({[this](std::size_t slot, const Reply& reply) { take(slot, reply); }, {}});
    auto next = LoadClock::now();
    for (std::size_t turn = 0; !is_over; ++turn) {
      if (turn % 2 == 0) {
        ask(0, next);
      } else {
        const std::size_t slot = 1 + turn / 2 % (kWatchSlots - 1);
        if (!is_busy_[slot]) loop_.close(slot);
        ask(slot, next);
      }
      next += kWatchInterval;
      loop_.run(next);
    }
    loop_.run(LoadClock::now() + std::chrono::seconds(2));
  }

  void report(Report& report) {
    add_times(report, "status_kept", kept_);
    add_times(report, "status_fresh", fresh_);
    report.emplace_back("status_failed", static_cast<double>(failed_));
  }

 private:
  void ask(std::size_t slot, LoadClock::time_point due) {
    if (is_busy_[slot]) {
      // The kept connection has one call at a time: the wait for it is part of the next one.
      if (slot == 0) ++missed_;
      return;
    }
    is_busy_[slot] = true;
    sent_at_[slot] = due;
    loop_.send(slot, call_.with(v1::GetStatusRequest()));
  }

  void take(std::size_t slot, const Reply& reply) {
    is_busy_[slot] = false;
    const auto time = LoadClock::now() - sent_at_[slot];
    if (reply.status != 200) ++failed_;
    Times& times = slot == 0 ? kept_ : fresh_;
    times.add(time);
    // What should have been asked meanwhile would have waited, too.
    if (slot != 0) return;
    for (std::size_t i = 1; missed_ > 0; --missed_, ++i) times.add(time - 2 * i * kWatchInterval);
  }

  LoadLoop loop_;
  CallText call_;
  std::vector<LoadClock::time_point> sent_at_;
  std::vector<char> is_busy_;
  Times kept_;
  Times fresh_;
  std::size_t failed_ = 0;
  std::size_t missed_ = 0;
};

struct Host {
  CallText call;
  v1::ExchangeRequest request;
  net::Backoff backoff;
  bool is_back = false;
};

class Storm {
 public:
  Storm(const LoadOptions& options, LoadLoop loop, const std::vector<std::string>& secrets,
        Updates updates)
      : loop_(std::move(loop)), updates_(std::move(updates)) {
    for (std::size_t i = 0; i < options.connections; ++i) {
      loop_.add(static_cast<std::uint8_t>(2 + i / kHostsPerAddress));
      hosts_.push_back(
          Host{CallText(options.server, "WorkService/Exchange", secrets[i % secrets.size()]),
               {},
               net::Backoff(i)});
      hosts_[i].request.set_wanted_count(1);
      hosts_[i].request.set_max_wait_ms(kMaxWaitMs);
    }
  }

  // Every host takes a workunit and computes.
  Status take_leases() {
    loop_.set_handlers(
        {[this](std::size_t index, const Reply& reply) { lease(index, reply); }, {}});
    for (std::size_t i = 0; i < hosts_.size(); ++i) {
      send(i);
      if (i % kConnectingMax == kConnectingMax - 1)
        loop_.run(LoadClock::now() + std::chrono::milliseconds(50));
    }
    if (leased_ < hosts_.size()) loop_.run(LoadClock::now() + kPatience);
    if (leased_ == hosts_.size()) return {};
    return fail(Errc::kUnavailable, std::to_string(hosts_.size() - leased_) + " hosts got no work");
  }

  // The server listens again, and all report.
  void come_back() {
    for (std::size_t i = 0; i < hosts_.size(); ++i) loop_.close(i);
    loop_.set_handlers({[this](std::size_t index, const Reply& reply) { take(index, reply); },
                        [this](std::size_t index) { send(index); }});
    began_ = LoadClock::now();
    for (std::size_t i = 0; i < hosts_.size(); ++i) send(i);
    loop_.run(began_ + kPatience);
    // The watcher sees what is parked afterwards, too.
    loop_.run(LoadClock::now() + std::chrono::milliseconds(500));
  }

  void report(Report& report) {
    report.emplace_back("hosts", static_cast<double>(hosts_.size()));
    report.emplace_back("valid", static_cast<double>(valid_));
    report.emplace_back("calls", static_cast<double>(calls_));
    report.emplace_back("refused", static_cast<double>(refused_));
    report.emplace_back("cut", static_cast<double>(cut_));
    add_times(report, "back", back_);
  }

 private:
  void send(std::size_t index) {
    ++calls_;
    loop_.send(index, hosts_[index].call.with(hosts_[index].request));
  }

  void lease(std::size_t index, const Reply& reply) {
    if (reply.status != 200) {
      std::cerr << "storm: HTTP " << reply.status << " " << reply.body << "\n";
      return;
    }
    response_.ParseFromArray(reply.body.data(), static_cast<int>(reply.body.size()));
    if (response_.assignments_size() == 0) return send(index);
    v1::ResultReport& report = *hosts_[index].request.add_reports();
    report.set_result_id(response_.assignments(0).result_id());
    report.set_outcome(v1::OUTCOME_SUCCESS);
    report.set_loss_sum(0.5);
    name_update(updates_, response_.assignments(0).step(), report);
    if (++leased_ == hosts_.size()) loop_.stop();
  }

  void take(std::size_t index, const Reply& reply) {
    Host& host = hosts_[index];
    if (reply.status != 200) return try_again(index, reply);
    response_.ParseFromArray(reply.body.data(), static_cast<int>(reply.body.size()));
    if (host.is_back) return;
    if (response_.verdicts_size() == 0) return send(index);
    if (response_.verdicts(0).verdict() == v1::VERDICT_VALID) ++valid_;
    host.is_back = true;
    back_.add(LoadClock::now() - began_);
    host.request.clear_reports();
    if (back_.count() == hosts_.size()) return loop_.stop();
    // A host that got nothing asks on, and is held.
    if (response_.assignments_size() == 0) send(index);
  }

  // As manyhands-client does: full jitter, and not before Retry-After.
  void try_again(std::size_t index, const Reply& reply) {
    ++(reply.status == 0 ? cut_ : refused_);
    loop_.close(index);
    loop_.call_at(LoadClock::now() + reply.retry_after + hosts_[index].backoff.next(), index);
  }

  LoadLoop loop_;
  const Updates updates_;
  std::vector<Host> hosts_;
  v1::ExchangeResponse response_;
  LoadClock::time_point began_{};
  std::size_t leased_ = 0;
  std::size_t valid_ = 0;
  std::size_t calls_ = 0;
  std::size_t refused_ = 0;
  std::size_t cut_ = 0;
  Times back_;
};

}  // namespace

Status return_at_once(const LoadOptions& options) {
  MH_TRY(LoadLoop loop, LoadLoop::make(options.server));
  MH_TRY(LoadLoop watch_loop, LoadLoop::make(options.server));
  MH_TRY(const std::vector<std::string> secrets, read_secrets(options.secrets_file));
  MH_TRY(Updates updates, read_updates(options.updates_file));
  Storm storm(options, std::move(loop), secrets, std::move(updates));
  MH_TRY_VOID(storm.take_leases());
  std::cout << "leased" << std::endl;
  std::string word;
  std::getline(std::cin, word);
  Watcher watcher(std::move(watch_loop));
  std::atomic<bool> is_over = false;
  std::thread watching([&] { watcher.run(is_over); });
  storm.come_back();
  is_over = true;
  watching.join();
  Report report;
  storm.report(report);
  watcher.report(report);
  print_report(report);
  return {};
}

}  // namespace mh::bench
