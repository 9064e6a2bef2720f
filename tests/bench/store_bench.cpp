// store_bench DIR: durable exchanges a second of the real coordinator on the real SqliteStore,
// without a network: one report and one new lease each, as hosts make them. DIR is a folder of
// fill_store with --live; its rows change. One line for each number of exchanges outstanding.
//
// The main thread is the state strand; the store's thread commits. A step that completes is given
// made-up parameters, and its cost is in the figures.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <iostream>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "proto/base/options.h"
#include "scheduler/coordinator.h"
#include "server/server_folder.h"
#include "server/sqlite_store.h"

namespace mh::server {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

struct BenchOptions {
  std::filesystem::path folder;
  std::vector<std::size_t> outstanding{1, 16, 256};
  std::size_t clients = 256;
  double seconds = 3;
  std::size_t group_max = SqliteStoreOptions{}.group_max;
};

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

// How many commits are on their way.
class InFlight {
 public:
  void begin(std::size_t most) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ < most; });
    ++count_;
  }
  void end() {
    {
      const std::lock_guard lock(mutex_);
      --count_;
    }
    changed_.notify_one();
  }
  void wait_for_none() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  std::size_t count_ = 0;
};

class Bench {
 public:
  Bench(std::unique_ptr<SqliteStore> store, ServerSnapshot snapshot, const BenchOptions& options)
      : store_(std::move(store)), options_(options) {
    const auto& hosts = snapshot.scheduler.hosts;
    const std::size_t apart = std::max<std::size_t>(1, hosts.size() / options.clients);
    for (std::size_t i = 0; i < hosts.size() && clients_.size() < options.clients; i += apart) {
      clients_.push_back({hosts[i].id, {}});
    }
    coordinator_.emplace(scheduler::CoordinatorOptions{}, std::move(snapshot.scheduler),
                         SystemClock().now());
  }

  void run(std::size_t outstanding) {
    const SqliteStore::Counts before = store_->counts();
    const double cpu_before = cpu_seconds();
    const auto begin = Clock::now();
    std::uint64_t exchanges = 0;
    decided_ = {};
    while (Clock::now() - begin < Seconds(options_.seconds)) {
      exchange(clients_[next_++ % clients_.size()], outstanding);
      ++exchanges;
    }
    in_flight_.wait_for_none();
    const double seconds = Seconds(Clock::now() - begin).count();
    const double cpu = cpu_seconds() - cpu_before;
    const auto count = static_cast<double>(exchanges);
    const auto groups = static_cast<double>(store_->counts().groups - before.groups);
    std::printf("%11zu %13.0f %17.1f %12.1f %15.1f %10.1f\n", outstanding, count / seconds,
                count / groups, cpu / count * 1e6, Seconds(decided_).count() / count * 1e6,
                seconds / groups * 1e3);
    std::fflush(stdout);
  }

 private:
  struct Client {
    HostId host;
    std::vector<ResultId> leases;
  };

  void commit(scheduler::Changes changes, std::size_t outstanding) {
    in_flight_.begin(outstanding);
    Transaction transaction;
    transaction.changes = std::move(changes);
    store_->commit(std::move(transaction), [this] { in_flight_.end(); });
  }

  void exchange(Client& client, std::size_t outstanding) {
    const TimePoint now = SystemClock().now();
    scheduler::ExchangeEvent event;
    event.host = client.host;
    event.wanted = 1;
    event.received = now;
    for (const ResultId result : client.leases) {
      scheduler::Report report;
      report.result = result;
      report.outcome = scheduler::Outcome::kSuccess;
      report.update_digest = sha256("update " + to_string(result));
      report.update_bytes = 296;
      event.reports.push_back(report);
    }
    const auto begin = Clock::now();
    auto decision = coordinator_->exchange(event, now);
    decided_ += Clock::now() - begin;
    client.leases.clear();
    if (decision.reply) {
      for (const auto& work : decision.reply->assignments) client.leases.push_back(work.result);
    }
    commit(std::move(decision.changes), outstanding);
    for (const scheduler::StepReady& ready : decision.effects.steps_ready) {
      scheduler::StepOutput output;
      output.parameters_digest = sha256("parameters " + std::to_string(++steps_));
      output.gradient_norm = 1;
      output.learning_rate = 0.1;
      auto step = coordinator_->step_completed(ready.job, ready.step, output, now);
      commit(std::move(step.changes), outstanding + 1);
    }
  }

  const std::unique_ptr<SqliteStore> store_;
  const BenchOptions options_;
  std::optional<scheduler::Coordinator> coordinator_;
  std::vector<Client> clients_;
  InFlight in_flight_;
  std::size_t next_ = 0;
  std::uint64_t steps_ = 0;
  Clock::duration decided_{};
};

Status measure(const BenchOptions& options) {
  const ServerFolder folder{options.folder};
  MH_TRY(const UniqueFd lock, lock_server_folder(folder));
  SqliteStoreOptions store_options;
  store_options.group_max = options.group_max;
  const auto begin = Clock::now();
  MH_TRY(auto store, SqliteStore::open(folder.database(), store_options));
  MH_TRY(ServerSnapshot snapshot, store->load());
  const auto loaded = Clock::now();
  std::printf("%s: %zu hosts, %zu workunits in memory, read in %.2f s", options.folder.c_str(),
              snapshot.scheduler.hosts.size(), snapshot.scheduler.workunits.size(),
              Seconds(loaded - begin).count());
  Bench bench(std::move(store), std::move(snapshot), options);
  std::printf(", taken up in %.2f s; groups of at most %zu\n",
              Seconds(Clock::now() - loaded).count(), options.group_max);
  std::printf("%11s %13s %17s %12s %15s %10s\n", "outstanding", "exchanges/s", "exchanges/commit",
              "CPU us each", "of it decision", "ms/commit");
  for (const std::size_t outstanding : options.outstanding) bench.run(outstanding);
  return {};
}

int run_command_line(int argc, const char* const* argv) {
  CLI::App app("Durable exchanges a second, without a network.", "store_bench");
  BenchOptions options;
  app.add_option("DIR", options.folder, "folder made by fill_store --live; is changed")->required();
  app.add_option("--outstanding", options.outstanding, "exchanges under way at once")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--clients", options.clients, "hosts that take part")->capture_default_str();
  app.add_option("--seconds", options.seconds, "of each measurement")->capture_default_str();
  app.add_option("--group", options.group_max, "most transitions in one SQLite transaction")
      ->check(CLI::Range(1, 65'536))
      ->capture_default_str();
  app.footer("Example: store_bench full --outstanding 1,16,256");
  if (const auto code = parse_command_line(app, argc, argv)) return *code;
  if (auto done = measure(options); !done) {
    std::cerr << "store_bench: " << done.error().message << "\n";
    return exit_code_of(done.error());
  }
  return kExitDone;
}

}  // namespace
}  // namespace mh::server

int main(int argc, char** argv) { return mh::server::run_command_line(argc, argv); }
