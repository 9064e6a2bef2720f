// Row e of server_bench.py: the mean of 16 updates of 10 million numbers, in files that the page
// cache holds, as the server's aggregation takes it (server/step_sum.h), against memcpy of as many
// bytes by as many threads, in turns. Prints one JSON object.
//
// `aggregate_bench rules`: instead a table of the robust rules (docs/aggregation.md), of 16 and of
// 64 updates: GB/s of update bytes, the same as a share of memcpy in the same turn, and GB for each
// second of CPU, which a busy machine changes less.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <future>
#include <iostream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "proto/base/file.h"
#include "proto/base/random.h"
#include "server/step_sum.h"
#include "trainer/robust/aggregate.h"

namespace {

using Clock = std::chrono::steady_clock;
using Views = std::vector<std::span<const float>>;

constexpr std::size_t kUpdates = 16;
constexpr std::size_t kElements = 10'000'000;
constexpr std::size_t kUpdateBytes = kElements * sizeof(float);
constexpr std::size_t kHeaderBytes = 96;
constexpr std::size_t kTogether = 4;
constexpr int kTurns = 7;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Memory of this process's own, in bytes: without mapped files.
double own_bytes() {
  std::ifstream stream("/proc/self/status");
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with("RssAnon:")) return std::stod(line.substr(8)) * 1024;
  }
  return 0;
}

class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() / ("bench-" + std::to_string(getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::filesystem::path update(std::size_t index) const { return path_ / std::to_string(index); }

  void fill(std::size_t updates) const {
    std::vector<char> bytes(kHeaderBytes + kUpdateBytes);
    for (std::size_t index = 0; index < updates; ++index) {
      mh::Philox4x32 random(index);
      for (std::size_t i = 0; i < kElements; ++i) {
        const float value = mh::uniform_float(random.next()) - 0.5F;
        std::memcpy(bytes.data() + kHeaderBytes + i * sizeof value, &value, sizeof value);
      }
      std::ofstream(update(index), std::ios::binary)
          .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    }
  }

 private:
  const std::filesystem::path path_;
};

// Maps the updates [first, first + count) as the server does, and views their numbers.
struct Mapped {
  Mapped(const Folder& folder, std::size_t first, std::size_t count) {
    for (std::size_t index = first; index < first + count; ++index) {
      files.push_back(*mh::MappedFile::open(folder.update(index)));
      const std::byte* data = files.back().bytes().data() + kHeaderBytes;
      views.emplace_back(reinterpret_cast<const float*>(data), kElements);
    }
  }
  std::vector<mh::MappedFile> files;
  Views views;
};

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

double copy_seconds(const std::vector<std::byte>& from, std::vector<std::byte>& to) {
  const auto begin = Clock::now();
  const std::size_t half = from.size() / 2;
  auto upper = std::async(std::launch::async, [&] {
    std::memcpy(to.data() + half, from.data() + half, from.size() - half);
  });
  std::memcpy(to.data(), from.data(), half);
  upper.wait();
  return seconds_since(begin);
}

// All updates are there: one pass.
double at_once_seconds(const Folder& folder, std::vector<float>& mean, double& own_more) {
  const double own = own_bytes();
  const auto begin = Clock::now();
  mh::server::StepSum sum(kElements);
  const Mapped all(folder, 0, kUpdates);
  const bool is_done = sum.mean(all.views, kUpdates, mean).has_value();
  const double seconds = seconds_since(begin);
  own_more = std::max(own_more, own_bytes() - own);
  return is_done ? seconds : 0;
}

// They come one after the other: a pass for each four, the last one makes the mean.
double streamed_seconds(const Folder& folder, mh::server::StepSum& sum, std::vector<float>& mean) {
  const auto begin = Clock::now();
  sum.reset();
  for (std::size_t first = 0; first + kTogether < kUpdates; first += kTogether) {
    if (!sum.add(Mapped(folder, first, kTogether).views)) return 0;
  }
  const Mapped last(folder, kUpdates - kTogether, kTogether);
  return sum.mean(last.views, kUpdates, mean) ? seconds_since(begin) : 0;
}

struct RuleRow {
  const char* name;
  mh::robust::Rule rule;
  std::vector<mh::robust::Pre> pre;
};

double rule_seconds(const RuleRow& row, const Folder& folder, std::size_t updates,
                    std::vector<float>& out) {
  const auto begin = Clock::now();
  const Mapped all(folder, 0, updates);
  std::vector<mh::robust::Input> inputs;
  for (const auto& view : all.views)
    inputs.push_back({.name = "update", .values = std::as_bytes(view)});
  mh::robust::Recipe recipe;
  recipe.rule = row.rule;
  recipe.f = updates / 5;
  recipe.pre = row.pre;
  mh::robust::PassOptions options;
  options.threads = std::max(1U, std::thread::hardware_concurrency());
  const bool is_done = mh::robust::aggregate(recipe, inputs, {}, out, options).has_value();
  return is_done ? seconds_since(begin) : 1e9;
}

int bench_rules() {
  using mh::robust::Pre;
  using mh::robust::Rule;
  const std::vector<RuleRow> rows = {{"mean", Rule::kMean, {}},
                                     {"median", Rule::kMedian, {}},
                                     {"trimmed_mean", Rule::kTrimmedMean, {}},
                                     {"meamed", Rule::kMeamed, {}},
                                     {"multi_krum", Rule::kMultiKrum, {}},
                                     {"nnm + trimmed_mean", Rule::kTrimmedMean, {Pre::kNnm}}};
  constexpr std::size_t kUpdatesMost = 64;
  const Folder folder;
  folder.fill(kUpdatesMost);
  const std::vector<std::byte> from(kUpdates * kUpdateBytes, std::byte{1});
  std::vector<std::byte> to(from.size(), std::byte{2});
  std::vector<float> out(kElements);
  std::printf("%-20s %4s %8s %8s %8s\n", "rule", "n", "GB/s", "memcpy", "GB/CPU-s");
  for (const std::size_t updates : {kUpdates, kUpdatesMost}) {
    for (const RuleRow& row : rows) {
      std::vector<double> rates, shares, cpu_rates;
      const auto bytes = static_cast<double>(updates * kUpdateBytes);
      for (int turn = 0; turn < 5; ++turn) {
        const double copy = static_cast<double>(from.size()) / copy_seconds(from, to);
        const double cpu = cpu_seconds();
        rates.push_back(bytes / rule_seconds(row, folder, updates, out));
        cpu_rates.push_back(bytes / (cpu_seconds() - cpu));
        shares.push_back(rates.back() / copy);
      }
      std::printf("%-20s %4zu %8.2f %7.2fx %8.2f\n", row.name, updates, median(rates) / 1e9,
                  median(shares), median(cpu_rates) / 1e9);
      std::fflush(stdout);
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "rules") return bench_rules();
  const Folder folder;
  folder.fill(kUpdates);
  std::vector<std::byte> from(kUpdates * kUpdateBytes, std::byte{1});
  std::vector<std::byte> to(from.size(), std::byte{2});
  std::vector<float> at_once(kElements);
  std::vector<float> streamed(kElements);
  double at_once_own = 0;
  // The first pass over anything is slower than the others.
  at_once_seconds(folder, at_once, at_once_own);
  const double own = own_bytes();
  mh::server::StepSum sum(kElements);
  streamed_seconds(folder, sum, streamed);
  const double accumulator_more = own_bytes() - own - static_cast<double>(kElements * 8);
  std::vector<double> copy_rates, at_once_rates, streamed_rates, at_once_shares, streamed_shares;
  const auto bytes = static_cast<double>(from.size());
  for (int turn = 0; turn < kTurns; ++turn) {
    copy_rates.push_back(bytes / copy_seconds(from, to));
    at_once_rates.push_back(bytes / at_once_seconds(folder, at_once, at_once_own));
    streamed_rates.push_back(bytes / streamed_seconds(folder, sum, streamed));
    at_once_shares.push_back(at_once_rates.back() / copy_rates.back());
    streamed_shares.push_back(streamed_rates.back() / copy_rates.back());
  }
  if (at_once != streamed) {
    std::cerr << "aggregate_bench: the two means differ\n";
    return 1;
  }
  std::printf(
      "{\"memcpy_bytes_per_second\": %.4g, \"mean_bytes_per_second\": %.4g, "
      "\"streamed_bytes_per_second\": %.4g, \"ratio\": %.3f, \"streamed_ratio\": %.3f, "
      "\"extra_bytes\": %.0f, \"streamed_extra_bytes\": %.0f}\n",
      median(copy_rates), median(at_once_rates), median(streamed_rates), median(at_once_shares),
      median(streamed_shares), std::max(at_once_own, 0.0), std::max(accumulator_more, 0.0));
  return 0;
}
