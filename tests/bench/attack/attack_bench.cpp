// What attacks cost: runs each attack on the real engine and the real coordinator, prints a table.
// See docs/validation.md for what it found, world.h for how it works.
#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <mutex>
#include <thread>

#include "proto/base/file.h"
#include "tests/bench/attack/engine_learner.h"
#include "tests/bench/attack/report.h"

namespace mh::attack {
namespace {

struct Arguments {
  std::string images = "/usr/share/datasets/fashion-mnist";
  std::vector<std::string> attacks;
  std::vector<std::string> data = {"iid", "non-iid"};
  std::string defence = "default";
  double attackers = 0.2;
  std::uint64_t hosts = 20;
  std::uint64_t trusted = 1;
  std::uint64_t seeds = 3;
  std::uint64_t steps = 300;
  std::int64_t hidden = 32;
  double learning_rate = 0.1;
  unsigned threads = 2;
  bool is_one_device = false;
  std::uint64_t reliable_hosts_min = 0;
  std::uint64_t honest_host_steps = 0;
  std::string out;
};

std::uint64_t attacker_count(const Arguments& arguments) {
  return static_cast<std::uint64_t>(
      std::lround(arguments.attackers * static_cast<double>(arguments.hosts)));
}

Result<std::vector<Scenario>> scenarios_of(const Arguments& arguments) {
  Scenario common;
  common.step_count = arguments.steps;
  common.host_count = arguments.hosts;
  common.trusted_count = arguments.trusted;
  common.attacker_count = attacker_count(arguments);
  common.reliable_hosts_min = arguments.reliable_hosts_min;
  common.learning_rate = arguments.learning_rate;
  common.has_mixed_devices = !arguments.is_one_device;
  MH_TRY(common.defence, parse_defence(arguments.defence, common.attacker_count));
  std::vector<const AttackKind*> kinds = {&attack_table()[0]};
  for (const std::string& name : arguments.attacks) {
    MH_TRY(const AttackKind* kind, attack_named(name));
    if (kind != kinds[0]) kinds.push_back(kind);
  }
  if (arguments.attacks.empty()) {
    for (const AttackKind& kind : attack_table().subspan(1)) kinds.push_back(&kind);
  }
  std::vector<Scenario> scenarios;
  for (const std::string& data : arguments.data) {
    common.distribution =
        data == name_of(Distribution::kIid) ? Distribution::kIid : Distribution::kByClass;
    for (const AttackKind* kind : kinds) {
      common.attack = kind;
      for (common.seed = 1; common.seed <= arguments.seeds; ++common.seed)
        scenarios.push_back(common);
    }
  }
  return scenarios;
}

// The scenarios, by several threads; results in their order.
class Pool {
 public:
  Pool(const std::vector<Scenario>& scenarios, const Arguments& arguments,
       std::shared_ptr<const Images> images, const engine::Device& device)
      : scenarios_(scenarios),
        arguments_(arguments),
        images_(std::move(images)),
        device_(device),
        finished_(scenarios.size()) {}

  Result<std::vector<Finished>> run() {
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < arguments_.threads; ++i) threads.emplace_back([this] { work(); });
    for (std::thread& thread : threads) thread.join();
    if (!problem_.message.empty()) return problem_;
    return std::move(finished_);
  }

 private:
  void work() {
    const auto shard = static_cast<std::uint32_t>(scenarios_[0].shard);
    auto learner = make_engine_learner(images_, device_, arguments_.hidden, shard);
    if (!learner) return complain(learner.error());
    while (true) {
      const std::size_t index = next_.fetch_add(1);
      if (index >= scenarios_.size()) return;
      const Scenario& scenario = scenarios_[index];
      auto outcome = attack::run(scenario, **learner);
      if (!outcome) return complain(outcome.error());
      tell(scenario, *outcome);
      finished_[index] = {std::string(scenario.attack->name), scenario.distribution, scenario.seed,
                          *std::move(outcome)};
    }
  }

  void tell(const Scenario& scenario, const Outcome& outcome) {
    const std::lock_guard lock(mutex_);
    std::fprintf(stderr, "%3zu of %zu: %-13s %-7s seed %llu: accuracy %.4f, %llu steps%s%s\n",
                 ++told_, scenarios_.size(), std::string(scenario.attack->name).c_str(),
                 std::string(name_of(scenario.distribution)).c_str(),
                 static_cast<unsigned long long>(scenario.seed), outcome.accuracy,
                 static_cast<unsigned long long>(outcome.steps_done),
                 outcome.failure.empty() ? "" : ", failed: ", outcome.failure.c_str());
  }

  void complain(const Error& error) {
    const std::lock_guard lock(mutex_);
    problem_ = error;
    next_ = scenarios_.size();
  }

  const std::vector<Scenario>& scenarios_;
  const Arguments& arguments_;
  const std::shared_ptr<const Images> images_;
  const engine::Device& device_;
  std::atomic<std::size_t> next_ = 0;
  // Each element by one thread.
  std::vector<Finished> finished_;
  std::mutex mutex_;
  // Guarded by mutex_:
  std::size_t told_ = 0;
  Error problem_;
};

Result<std::vector<Finished>> finished_runs(const Arguments& arguments) {
  MH_TRY(const auto scenarios, scenarios_of(arguments));
  MH_TRY(const engine::Device device, engine::open_device("cpu", 1));
  engine::keep_freed_memory();
  MH_TRY(const auto images, load_images(arguments.images));
  return Pool(scenarios, arguments, images, device).run();
}

Status measure(const Arguments& arguments) {
  const auto begin = std::chrono::steady_clock::now();
  MH_TRY(const std::vector<Finished> runs, finished_runs(arguments));
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  const std::vector<Line> lines = lines_of(runs);
  std::printf(
      "%s\n%zu runs in %.0f s: %llu hosts, %llu of them attackers, %llu trusted, "
      "defence %s, %llu steps, %llu seeds\n",
      markdown_of(lines).c_str(), runs.size(), elapsed.count(),
      static_cast<unsigned long long>(arguments.hosts),
      static_cast<unsigned long long>(attacker_count(arguments)),
      static_cast<unsigned long long>(arguments.trusted), arguments.defence.c_str(),
      static_cast<unsigned long long>(arguments.steps),
      static_cast<unsigned long long>(arguments.seeds));
  if (arguments.out.empty()) return {};
  return write_file_atomically(arguments.out, json_of(arguments.defence, lines, runs));
}

// Nobody attacks; hosts of mixed classes work for so many steps. An honest host that is limited or
// banned is a failure.
Status measure_honest(Arguments arguments) {
  arguments.attacks = {std::string(attack_table()[0].name)};
  arguments.attackers = 0;
  arguments.steps = (arguments.honest_host_steps + arguments.hosts - 1) / arguments.hosts;
  MH_TRY(const std::vector<Finished> runs, finished_runs(arguments));
  std::uint64_t host_steps = 0;
  std::uint64_t checked = 0;
  std::uint64_t differed = 0;
  std::uint64_t punished = 0;
  for (const Finished& run : runs) {
    host_steps += run.outcome.steps_done * run.outcome.hosts.size();
    for (const HostOutcome& host : run.outcome.hosts) {
      checked += host.checked_count;
      differed += host.differed_count;
      punished += host.out_at_step ? 1 : 0;
    }
  }
  std::printf(
      "%llu honest host-steps in %zu runs: %llu results checked, %llu of them differed; "
      "%llu hosts limited or banned\n",
      static_cast<unsigned long long>(host_steps), runs.size(),
      static_cast<unsigned long long>(checked), static_cast<unsigned long long>(differed),
      static_cast<unsigned long long>(punished));
  if (punished == 0) return {};
  return fail(Errc::kInternal, "honest hosts were punished");
}

void define(CLI::App& app, Arguments& arguments) {
  app.footer("Example: attack_bench --attacks sign_flip,alie --seeds 1 --defence default");
  app.add_option("--images", arguments.images, "Folder of the Fashion-MNIST files")
      ->capture_default_str();
  app.add_option("--attacks", arguments.attacks, "Names, with commas [all]")->delimiter(',');
  app.add_option("--data", arguments.data, "iid and non-iid")
      ->delimiter(',')
      ->check(CLI::IsMember({"iid", "non-iid"}))
      ->capture_default_str();
  app.add_option("--defence", arguments.defence,
                 "default, none, or names of rules: nnm+trimmed_mean, default+median")
      ->capture_default_str();
  app.add_option("--attackers", arguments.attackers, "Share of the hosts that attack")
      ->check(CLI::Range(0.0, 0.49))
      ->capture_default_str();
  app.add_option("--hosts", arguments.hosts, "Hosts")
      ->check(CLI::Range(2, 1000))
      ->capture_default_str();
  app.add_option("--trusted", arguments.trusted, "Hosts that the admin trusts")
      ->capture_default_str();
  app.add_option("--seeds", arguments.seeds, "Runs of each")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--steps", arguments.steps, "Steps of a run")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--hidden", arguments.hidden, "Hidden units")->capture_default_str();
  app.add_option("--learning-rate", arguments.learning_rate, "Of SGD with momentum 0.9")
      ->capture_default_str();
  app.add_option("--threads", arguments.threads, "Runs at a time")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_flag("--one-device", arguments.is_one_device,
               "All hosts compute the same bits; else four device classes");
  app.add_option("--reliable-hosts-min", arguments.reliable_hosts_min,
                 "Reliable hosts with which newcomers cannot confirm each other; 0: the default")
      ->capture_default_str();
  app.add_option("--honest-host-steps", arguments.honest_host_steps,
                 "No attack: so many (hosts × steps), and nobody may be limited or banned");
  app.add_option("--out", arguments.out, "Write all numbers to this file (JSON)");
}

}  // namespace
}  // namespace mh::attack

int main(int argc, char** argv) {
  CLI::App app("Attacks on a training job: accuracy lost, bad updates that got in, credit earned");
  mh::attack::Arguments arguments;
  mh::attack::define(app, arguments);
  CLI11_PARSE(app, argc, argv);
  const auto done = arguments.honest_host_steps > 0 ? mh::attack::measure_honest(arguments)
                                                    : mh::attack::measure(arguments);
  if (done) return 0;
  std::fprintf(stderr, "attack_bench: %s\n", done.error().message.c_str());
  return done.error().code == mh::Errc::kInternal ? 1 : 2;
}
