// See probe.h.
#include "client/sandbox/probe.h"

#include <fcntl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "client/sandbox/landlock.h"
#include "client/sandbox/launch.h"

namespace mh::sandbox {
namespace {

constexpr std::uint64_t kPlenty = std::uint64_t{1} << 40;

bool is_namespace(Layer layer) { return layer >= Layer::kUser && layer <= Layer::kNet; }

Plan plan_for(LayerSet layers, const std::filesystem::path& program) {
  return {.layers = layers,
          .program = program,
          .arguments = {"nothing"},
          .input = {},
          .output = {},
          .limits = {.memory_bytes = kPlenty,
                     .mapped_bytes = kPlenty,
                     .file_bytes = kPlenty,
                     .threads = 1},
          .has_gpu = false};
}

// "manyhands-sandbox: cannot … : Operation not permitted\n" without its first word and end.
std::string reason(std::string said) {
  if (const std::size_t colon = said.find(": "); colon != std::string::npos)
    said.erase(0, colon + 2);
  if (const std::size_t end = said.find('\n'); end != std::string::npos) said.resize(end);
  return said.empty() ? "the program does not start in it" : said;
}

}  // namespace

Available probe(const std::filesystem::path& program) {
  Available found;
  for (const Layer layer : kAllLayers) {
    LayerSet one;
    one.add(layer);
    // Without a user namespace only root may make the others.
    if (is_namespace(layer) && found.layers.has(Layer::kUser)) one.add(Layer::kUser);
    std::string said;
    if (try_launch(plan_for(one, program), said))
      found.layers.add(layer);
    else
      found.missing.push_back({layer, reason(std::move(said))});
  }
  std::string said;
  while (!found.layers.is_empty() && !try_launch(plan_for(found.layers, program), said)) {
    // The one that most often does not bear others goes first.
    for (const Layer layer :
         {Layer::kMount, Layer::kSeccomp, Layer::kLandlock, Layer::kPid, Layer::kNet, Layer::kUser,
          Layer::kIpc, Layer::kUts, Layer::kLimits, Layer::kEnvironment, Layer::kPrivileges}) {
      if (!found.layers.has(layer)) continue;
      found.layers.remove(layer);
      found.missing.push_back({layer, "not together with the others: " + reason(said)});
      break;
    }
  }
  if (const int version = landlock_version(); found.layers.has(Layer::kLandlock))
    found.notes.push_back("landlock version " + std::to_string(version) +
                          (version < 4   ? ": files only"
                           : version < 6 ? ": files and TCP"
                                         : ": files, TCP, signals and abstract sockets"));
  utsname info{};
  if (::uname(&info) == 0) found.notes.push_back(std::string("Linux ") + info.release);
  return found;
}

}  // namespace mh::sandbox
