// A hostile program in the place of manyhands-trainer, for the escape tests
// (tests/attack/escapes.py).
//
//   hostile_trainer list               the names of all attempts
//   hostile_trainer try NAME           makes one attempt; "stopped" or "SUCCEEDED" on standard
//   output hostile_trainer serve …            as the daemon starts it: all attempts but the bombs,
//   one after the
//                                      other, or hostile frames (see hostile_serve.cpp)
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string_view>
#include <vector>

#include "tests/attack/hostile.h"

namespace mh::hostile {

Targets Targets::read_from(const char* program) {
  constexpr std::string_view kMarker = "\n#TARGETS#\n";
  std::ifstream file(program, std::ios::binary);
  std::stringstream content;
  content << file.rdbuf();
  const std::string text = content.str();
  Targets targets;
  const std::size_t at = text.rfind(kMarker);
  if (at == std::string::npos) return targets;
  std::istringstream lines(text.substr(at + kMarker.size()));
  for (std::string line; std::getline(lines, line);) {
    const std::size_t equal = line.find('=');
    if (equal != std::string::npos) targets.values_[line.substr(0, equal)] = line.substr(equal + 1);
  }
  return targets;
}

const char* Targets::text(const std::string& key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? "" : found->second.c_str();
}

long Targets::number(const std::string& key) const {
  const std::string_view digits = text(key);
  long number = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return number;
}

namespace {

std::vector<Attempt> all_attempts(bool with_bombs) {
  std::vector<Attempt> all;
  for (const auto part :
       {file_attempts(), process_attempts(), network_attempts(), kernel_attempts()})
    all.insert(all.end(), part.begin(), part.end());
  if (with_bombs) all.insert(all.end(), bomb_attempts().begin(), bomb_attempts().end());
  return all;
}

int try_one(const char* name, const Targets& targets) {
  for (const Attempt& attempt : all_attempts(true)) {
    if (std::strcmp(attempt.name, name) != 0) continue;
    const int why = attempt.run(targets);
    std::printf("%s %s\n", why == kSucceeded ? "SUCCEEDED" : "stopped",
                why == kSucceeded ? "" : std::strerror(why));
    std::fflush(stdout);
    // Threads of a bomb may not be waited for.
    std::_Exit(0);
  }
  std::fprintf(stderr, "no attempt is called '%s'\n", name);
  return 2;
}

}  // namespace
}  // namespace mh::hostile

int main(int argc, char** argv) {
  using namespace mh::hostile;
  const std::string_view verb = argc > 1 ? argv[1] : "";
  if (verb == "list") {
    for (const Attempt& attempt : all_attempts(true)) std::printf("%s\n", attempt.name);
    return 0;
  }
  const Targets targets = Targets::read_from(argv[0]);
  if (verb == "try" && argc == 3) return try_one(argv[2], targets);
  if (verb == "serve") return serve(targets, all_attempts(false));
  std::fprintf(stderr, "usage: hostile_trainer list | try NAME | serve\n");
  return 2;
}
