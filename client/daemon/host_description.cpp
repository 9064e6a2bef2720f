// See host_description.h.
#include "client/daemon/host_description.h"

#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "proto/base/build_info.h"
#include "proto/base/numerics.h"

namespace mh::client {
namespace {

// At most so many bytes, cut between code points; control characters taken out.
std::string limited(std::string text, std::size_t bytes_max) {
  std::erase_if(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
  if (text.size() <= bytes_max) return text;
  while (bytes_max > 0 && (static_cast<unsigned char>(text[bytes_max]) & 0xC0) == 0x80) --bytes_max;
  text.resize(bytes_max);
  return text;
}

}  // namespace

std::string machine_name() {
  char name[256] = {};
  if (::gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "volunteer";
  return name;
}

std::string platform_name() {
  utsname info{};
  if (::uname(&info) != 0) return "linux";
  return std::string("linux-") + info.machine;
}

std::string cpu_model() {
  std::ifstream info("/proc/cpuinfo");
  std::string line;
  while (std::getline(info, line)) {
    if (!line.starts_with("model name")) continue;
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return {};
}

std::uint32_t cpu_count() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return static_cast<std::uint32_t>(std::max(1, CPU_COUNT(&set)));
}

manyhands::v1::HostDescription describe_host(const std::string& name, const TrainerReady& trainer) {
  manyhands::v1::HostDescription description;
  description.set_name(limited(name, 64));
  description.set_platform(limited(platform_name(), 64));
  description.set_client_version(std::string(kVersion));
  description.set_device(limited(trainer.device, 32));
  description.set_device_model(limited(trainer.device_model, 128));
  description.set_cpu_level(std::string(cpu_level()));
  description.set_threads(std::clamp<std::uint32_t>(trainer.threads, 1, 4096));
  return description;
}

}  // namespace mh::client
