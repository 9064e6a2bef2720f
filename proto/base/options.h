// What the programs' command lines share: parsing with CLI11, environment variables, sizes,
// durations, addresses, and the exit codes that scripts rely on.
//
// A program keeps its options in one place: each is added once, with default, range, unit and help;
// flags, environment and --help come from that one line (`app.add_option(...)->envname(...)`).
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "proto/base/result.h"

namespace CLI {
class App;
}

namespace mh {

/// Exit codes of every program.
enum ExitCode : int {
  kExitDone = 0,         // it was done
  kExitFailed = 1,       // the thing asked about failed or does not exist
  kExitUsage = 2,        // wrong usage or wrong input
  kExitUnreachable = 3,  // the server cannot be reached, or does not allow it
};

/// The exit code for a failure: kInvalidArgument and kOutOfRange 2; kUnavailable, kUnauthenticated,
/// kPermissionDenied and kDeadlineExceeded 3; all others 1.
int exit_code_of(const Error& error);

/// Parses the command line. Returns nothing when the program should go on, else the exit code:
/// 0 after --help or --version, or --man or --bash-completion (program_manual.h), 2 after a mistake
/// (which has been told on stderr).
std::optional<int> parse_command_line(CLI::App& app, int argc, const char* const* argv);

/// The value of an environment variable; empty counts as not set.
std::optional<std::string> environment_value(const char* name);

/// "host:port", "[v6]:port". Port 0 is allowed (a free one is taken).
struct HostPort {
  std::string host;
  std::uint16_t port = 0;
};
/// Errors: kInvalidArgument, naming what is wrong.
Result<HostPort> parse_host_port(std::string_view text);

/// "1048576", "64KiB", "20 MiB", "1.5GB". Units: B, KB, MB, GB, TB (10^3) and KiB, MiB, GiB, TiB.
/// Errors: kInvalidArgument.
Result<std::uint64_t> parse_byte_size(std::string_view text);
/// "250ms", "25s", "10m", "2h", "7d". Errors: kInvalidArgument.
Result<std::chrono::milliseconds> parse_duration(std::string_view text);

/// "7.0 MB", "512 B": for people.
std::string format_byte_size(std::uint64_t bytes);
/// "1 h 02 min", "3.2 s", "250 ms": for people.
std::string format_duration(std::chrono::milliseconds duration);

/// A folder of the XDG scheme: "$variable" if it is an absolute path, else "$HOME/fallback".
/// Errors: kFailedPrecondition when neither is set.
Result<std::string> xdg_folder(const char* variable, std::string_view fallback);

}  // namespace mh
