// See trainer_talk.h.
#include "client/daemon/trainer_talk.h"

#include <utility>

#include "proto/base/utf8.h"

namespace mh::client {
namespace {

constexpr std::size_t kLineBytesMax = 500;

}  // namespace

bool Allowance::take(double amount, Time now) {
  if (last_ != Time()) add(per_second_ * std::chrono::duration<double>(now - last_).count());
  last_ = now;
  if (left_ < amount) return false;
  left_ -= amount;
  return true;
}

std::vector<std::string> TrainerText::add(std::string_view bytes, Allowance::Time now) {
  std::vector<std::string> lines;
  for (const char c : bytes) {
    if (c == '\n')
      end_line(lines, now);
    else if (line_.size() < kLineBytesMax)
      line_ += c;
  }
  return lines;
}

void TrainerText::end_line(std::vector<std::string>& lines, Allowance::Time now) {
  last_line_ = plain_text(std::exchange(line_, {}), kLineBytesMax);
  if (last_line_.empty()) return;
  if (allowance_.take(static_cast<double>(last_line_.size()), now)) {
    is_silenced_ = false;
    lines.push_back(last_line_);
  } else if (!std::exchange(is_silenced_, true)) {
    lines.emplace_back("(says too much: not all of it is logged)");
  }
}

std::string TrainerText::last_line() const {
  return line_.empty() ? last_line_ : plain_text(line_, kLineBytesMax);
}

}  // namespace mh::client
