// The hostile trainer towards the daemon: says that it is ready, then what "mode" wants.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

#include "tests/attack/hostile.h"

namespace mh::hostile {
namespace {

void send_bytes(const std::string& bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = ::write(STDOUT_FILENO, bytes.data() + done, bytes.size() - done);
    if (count <= 0) ::_exit(1);
    done += static_cast<std::size_t>(count);
  }
}

void send(const std::string& json) {
  const auto length = static_cast<std::uint32_t>(json.size());
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  send_bytes(bytes + json);
}

std::string ready(const std::string& note) {
  return R"({"type":"ready","device":"cpu","device_model":"hostile","threads":1,"note":")" + note +
         "\"}";
}

// Reads and forgets until the daemon is gone.
void stay() {
  char bytes[4096];
  while (::read(STDIN_FILENO, bytes, sizeof bytes) > 0) {
  }
}

// Waits for a compute frame; its result id.
std::string wait_for_work() {
  std::string frames;
  char bytes[4096];
  constexpr const char* kKey = "\"result_id\":";
  while (true) {
    const ssize_t count = ::read(STDIN_FILENO, bytes, sizeof bytes);
    if (count <= 0) ::_exit(0);
    frames.append(bytes, static_cast<std::size_t>(count));
    const std::size_t at = frames.find(kKey);
    if (at == std::string::npos) continue;
    const std::size_t begin = at + std::strlen(kKey);
    return frames.substr(begin, frames.find_first_of(",}", begin) - begin);
  }
}

std::string done(const std::string& result, const std::string& bytes) {
  return R"({"type":"done","result_id":)" + result +
         R"(,"loss_sum":1.0,"correct_count":0,"compute_ms":1,"update_bytes":)" + bytes +
         R"(,"update_digest":")" + std::string(64, 'a') + "\"}";
}

// Writes far more than any update has into the file that was made for one. The signal ends it.
void fill_output(const Targets& targets, const std::string& result) {
  const std::string path = std::string(targets.text("out")) + "/" + result + ".update";
  const int file = ::open(path.c_str(), O_WRONLY);
  const std::string bytes(1 << 20, 'x');
  std::size_t written = 0;
  while (file >= 0 && written < 64 * bytes.size() && ::write(file, bytes.data(), bytes.size()) > 0)
    written += bytes.size();
  std::fprintf(stderr, "disk bomb: %zu bytes\n", written);
}

int talk(const std::string& mode, const Targets& targets) {
  if (mode == "oversized") send_bytes(std::string("\xFF\xFF\xFF\x7F", 4) + "{}");
  if (mode == "garbage") send_bytes(std::string(65536, '\xA5'));
  if (mode == "nested") send(std::string(1000000, '['));
  if (mode == "wrong-types")
    send(R"({"type":"done","result_id":"x","loss_sum":[],"update_bytes":-1})");
  if (mode == "endless-frame")
    send_bytes(std::string("\x00\x00\x10\x00", 4) + std::string(100000, ' '));
  send(ready(mode == "terminal" ? "\\u001b]0;owned\\u0007\\u001b[2Jx\\u009b31m" : ""));
  while (mode == "flood") send(R"({"type":"progress","result_id":1,"samples_done":1})");
  while (mode == "flood-ready") send(ready("again"));
  while (mode == "flood-done") send(done("77", "0"));
  while (mode == "flood-text") std::fprintf(stderr, "%0500d\n", 0);
  if (mode == "never-asked") send(done("12345", "100"));
  if (mode == "lying-size") send(done(wait_for_work(), "1000000000000"));
  if (mode == "disk-bomb") fill_output(targets, wait_for_work());
  if (mode == "no-file") send(done(wait_for_work(), "1000"));
  if (mode == "close-output") ::close(STDOUT_FILENO);
  stay();
  return 0;
}

}  // namespace

int serve(const Targets& targets, std::span<const Attempt> attempts) {
  const std::string mode = targets.text("mode");
  if (mode != "attempts") return talk(mode, targets);
  for (const Attempt& attempt : attempts) {
    const int why = attempt.run(targets);
    std::fprintf(stderr, "attempt|%s|%s|%s\n", attempt.name, why == 0 ? "SUCCEEDED" : "stopped",
                 why == 0 ? "" : std::strerror(why));
  }
  send(ready(""));
  stay();
  return 0;
}

}  // namespace mh::hostile
