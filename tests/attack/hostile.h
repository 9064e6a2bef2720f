// What a trainer that has been taken over would try, one function an attempt. For tests only.
#pragma once

#include <map>
#include <span>
#include <string>

namespace mh::hostile {

/// What the attempts aim at, told by the test: "home_secret" → a path, "victim_pid" → a number, …
class Targets {
 public:
  /// From "key=value" lines behind a marker at the end of the file: this program's own, which is
  /// the one file that a sandboxed program can always read.
  static Targets read_from(const char* program);
  const char* text(const std::string& key) const;
  long number(const std::string& key) const;

 private:
  std::map<std::string, std::string> values_;
};

/// What an attempt returns: 0, it did what it wanted to do; else the errno that stopped it.
inline constexpr int kSucceeded = 0;

struct Attempt {
  const char* name;
  int (*run)(const Targets& targets);
};

std::span<const Attempt> file_attempts();
std::span<const Attempt> process_attempts();
std::span<const Attempt> network_attempts();
std::span<const Attempt> kernel_attempts();
/// These end the process, or take all of something, where they are not stopped.
std::span<const Attempt> bomb_attempts();

/// Plays a trainer to the daemon: frames as "mode" of the targets says.
int serve(const Targets& targets, std::span<const Attempt> attempts);

}  // namespace mh::hostile
