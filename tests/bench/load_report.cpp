#include "tests/bench/load_report.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "proto/base/sha256.h"

namespace mh::bench {

Result<std::vector<std::string>> read_secrets(const std::string& file) {
  std::ifstream stream(file);
  std::vector<std::string> secrets;
  for (std::string line; std::getline(stream, line);) secrets.push_back(line);
  if (secrets.empty()) return fail(Errc::kNotFound, file + " holds no secrets of hosts");
  return secrets;
}

Result<Updates> read_updates(const std::string& file) {
  Updates updates;
  if (file.empty()) return updates;
  std::ifstream stream(file);
  std::uint64_t step = 0;
  std::string hex;
  std::uint64_t bytes = 0;
  while (stream >> step >> hex >> bytes) {
    MH_TRY(const Digest digest, Digest::from_hex(hex));
    updates[step] = Update{std::string(digest.raw()), bytes};
  }
  return updates;
}

void name_update(const Updates& updates, std::uint64_t step, manyhands::v1::ResultReport& report) {
  const auto update = updates.find(step);
  if (update == updates.end()) return;
  report.set_update_digest(update->second.digest);
  report.set_update_bytes(update->second.bytes);
}

CallText::CallText(const std::string& server, const std::string& method,
                   const std::string& bearer_token)
    : front_("POST /manyhands.v1." + method + " HTTP/1.1\r\nHost: " + server +
             "\r\nUser-Agent: manyhands-client/0.1.0\r\nAuthorization: Bearer " + bearer_token +
             "\r\nContent-Type: application/proto\r\nConnect-Protocol-Version: 1\r\n"
             "Connect-Timeout-Ms: 40000\r\nAccept-Encoding: gzip\r\nContent-Length: ") {}

const std::string& CallText::with(const google::protobuf::MessageLite& message) {
  text_.assign(front_).append(std::to_string(message.ByteSizeLong())).append("\r\n\r\n");
  message.AppendToString(&text_);
  return text_;
}

double Times::quantile(double share) {
  if (milliseconds_.empty()) return 0;
  const auto at = static_cast<std::size_t>(share * static_cast<double>(count() - 1) + 0.5);
  std::nth_element(milliseconds_.begin(), milliseconds_.begin() + static_cast<std::ptrdiff_t>(at),
                   milliseconds_.end());
  return milliseconds_[at];
}

double cpu_seconds(int process) {
  std::ifstream stream("/proc/" + std::to_string(process) + "/stat");
  std::string text;
  std::getline(stream, text);
  // Fields are counted behind the program's name, which may hold blanks.
  std::istringstream fields(text.substr(std::min(text.rfind(')') + 1, text.size())));
  std::string skipped;
  for (int field = 3; field < 14; ++field) fields >> skipped;
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

void print_report(const Report& report) {
  const char* separator = "{";
  for (const auto& [name, value] : report) {
    std::printf("%s\"%s\": %.6g", separator, name.c_str(), value);
    separator = ", ";
  }
  std::printf("}\n");
  std::fflush(stdout);
}

void add_times(Report& report, const std::string& name, Times& times) {
  report.emplace_back(name + "_count", static_cast<double>(times.count()));
  report.emplace_back(name + "_ms_p50", times.quantile(0.5));
  report.emplace_back(name + "_ms_p99", times.quantile(0.99));
  report.emplace_back(name + "_ms_max", times.quantile(1));
}

}  // namespace mh::bench
