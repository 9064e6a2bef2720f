// What the load generator's verbs share: secrets of hosts, texts of requests, times, the server's
// CPU, and the one JSON object that each verb prints. Threads: one.
#pragma once

#include <google/protobuf/message_lite.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "manyhands/v1/work.pb.h"
#include "proto/base/result.h"

namespace mh::bench {

// Secrets of attached hosts, one a line.
Result<std::vector<std::string>> read_secrets(const std::string& file);

// Updates that were uploaded before, by step.
struct Update {
  std::string digest;
  std::uint64_t bytes = 0;
};
using Updates = std::map<std::uint64_t, Update>;
// Lines "STEP HEX BYTES"; no file: none.
Result<Updates> read_updates(const std::string& file);
// Has the report of a gradient name its step's update, if there is one.
void name_update(const Updates& updates, std::uint64_t step, manyhands::v1::ResultReport& report);

// A call as manyhands-client sends it, head and body.
class CallText {
 public:
  CallText(const std::string& server, const std::string& method, const std::string& bearer_token);
  // Valid until the next call.
  const std::string& with(const google::protobuf::MessageLite& message);

 private:
  std::string front_;
  std::string text_;
};

// Durations; quantiles in milliseconds.
class Times {
 public:
  void add(std::chrono::nanoseconds time) {
    milliseconds_.push_back(std::chrono::duration<double, std::milli>(time).count());
  }
  std::size_t count() const { return milliseconds_.size(); }
  // 0 if there are none.
  double quantile(double share);

 private:
  std::vector<double> milliseconds_;
};

// User and system time of a process so far, in seconds; 0 if there is no such process.
double cpu_seconds(int process);

using Report = std::vector<std::pair<std::string, double>>;
// {"name": 1.5, …} on a line of its own.
void print_report(const Report& report);
void add_times(Report& report, const std::string& name, Times& times);

}  // namespace mh::bench
