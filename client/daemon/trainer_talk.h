// How much a trainer may say, and what of it a terminal may be shown. A trainer that has been taken
// over could otherwise fill the disk through the log, keep the daemon busy with frames, or send a
// volunteer's terminal commands. Pure: time is an argument.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace mh::client {

/// Fills up with time, to a limit.
class Allowance {
 public:
  using Time = std::chrono::steady_clock::time_point;
  Allowance(double most, double per_second) : most_(most), per_second_(per_second), left_(most) {}

  void add(double amount) { left_ = std::min(most_, left_ + amount); }
  /// False, and nothing is taken, if there is not so much left.
  bool take(double amount, Time now);

 private:
  const double most_;
  const double per_second_;
  double left_;
  Time last_{};
};

/// What comes out of the trainer's standard error, as lines for the log.
class TrainerText {
 public:
  /// The lines that are whole now and fit the allowance.
  std::vector<std::string> add(std::string_view bytes, Allowance::Time now);
  /// The last words, whole line or not, whether logged or not; for who explains how it ended.
  std::string last_line() const;

 private:
  void end_line(std::vector<std::string>& lines, Allowance::Time now);

  std::string line_;
  std::string last_line_;
  bool is_silenced_ = false;
  // A minute of chatter at start, then a few lines a minute.
  Allowance allowance_{64 * 1024, 64};
};

}  // namespace mh::client
