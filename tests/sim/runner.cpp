#include "tests/sim/runner.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <mutex>
#include <thread>

#include "proto/base/check_handler.h"
#include "tests/sim/digests.h"

namespace mh::sim {
namespace {

// Turns a broken MH_CHECK into a broken invariant of the world that it belongs to.
[[noreturn]] void throw_check(const char* condition, const char* file, int line) {
  const std::string path = file;
  const std::size_t folder = path.find_last_of('/');
  const std::string name = folder == std::string::npos ? path : path.substr(folder + 1);
  throw Violation("sanity", name + ":" + std::to_string(line) + ": " + condition);
}

class CheckScope {
 public:
  CheckScope() : before_(set_check_handler(&throw_check)) {}
  ~CheckScope() { set_check_handler(before_); }
  CheckScope(const CheckScope&) = delete;
  CheckScope& operator=(const CheckScope&) = delete;

 private:
  CheckHandler before_;
};

void add(RunReport& report, const Outcome& outcome) {
  ++report.seeds_run;
  report.counts.events += outcome.counts.events;
  report.counts.online_seconds += outcome.counts.online_seconds;
  report.counts.computing_seconds += outcome.counts.computing_seconds;
  report.counts.wasted_seconds += outcome.counts.wasted_seconds;
  report.counts.backup_seconds += outcome.counts.backup_seconds;
  report.counts.results_valid += outcome.counts.results_valid;
  report.counts.results_wasted += outcome.counts.results_wasted;
  report.counts.upload_bytes += outcome.counts.upload_bytes;
  report.counts.download_bytes += outcome.counts.download_bytes;
  report.counts.client_starts += outcome.counts.client_starts;
  report.server.decisions += outcome.server.decisions;
  report.server.exchanges += outcome.server.exchanges;
  report.server.commits += outcome.server.commits;
  report.server.crashes += outcome.server.crashes;
  report.server.steps += outcome.server.steps;
  report.virtual_seconds += outcome.seconds;
  report.jobs_finished += outcome.jobs_finished;
}

Scenario draw(const RunOptions& options, std::uint64_t seed, const std::set<FaultKind>& without,
              std::optional<std::uint32_t> hosts) {
  Scenario scenario = options.scenario.draw(seed, without);
  if (hosts) scenario.host_count = *hosts;
  return scenario;
}

bool breaks_the_same(const RunOptions& options, const Failure& failure) {
  World world(draw(options, failure.seed, failure.without, failure.hosts), failure.seed);
  return world.run().invariant == failure.outcome.invariant;
}

}  // namespace

RunReport run_seeds(const RunOptions& options) {
  const CheckScope checks;
  RunReport report;
  std::mutex mutex;
  std::map<std::uint64_t, std::uint64_t> digests;
  std::atomic<std::uint64_t> next{0};
  std::atomic<std::uint64_t> first_failure{UINT64_MAX};
  const auto work = [&] {
    for (;;) {
      const std::uint64_t index = next.fetch_add(1);
      if (index >= options.seed_count || index > first_failure.load()) return;
      const std::uint64_t seed = options.first_seed + index;
      Outcome outcome = World(draw(options, seed, options.without, std::nullopt), seed).run();
      const std::lock_guard lock(mutex);
      add(report, outcome);
      digests[seed] = outcome.digest;
      if (outcome.has_failed() && index < first_failure.load()) {
        first_failure.store(index);
        report.failure = Failure{seed, std::move(outcome), options.without, std::nullopt};
      }
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 1; i < options.threads; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  for (const auto& [seed, digest] : digests) {
    report.digest = derive_key(report.digest, seed, digest);
  }
  return report;
}

Failure shrink(const RunOptions& options, const Failure& found) {
  const CheckScope checks;
  Failure failure = found;
  for (const FaultKind kind : all_faults()) {
    Failure smaller = failure;
    if (smaller.without.insert(kind).second && breaks_the_same(options, smaller)) failure = smaller;
  }
  auto hosts = static_cast<std::uint32_t>(
      draw(options, failure.seed, failure.without, std::nullopt).host_count);
  while (hosts > 1) {
    Failure smaller = failure;
    smaller.hosts = hosts - 1;
    if (!breaks_the_same(options, smaller)) break;
    failure = smaller;
    --hosts;
  }
  World world(draw(options, failure.seed, failure.without, failure.hosts), failure.seed);
  world.keep_trace();
  failure.outcome = world.run();
  return failure;
}

}  // namespace mh::sim
