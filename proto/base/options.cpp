// See options.h.
#include "proto/base/options.h"

#include <CLI/CLI.hpp>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "proto/base/kill_point.h"
#include "proto/base/program_manual.h"
#include "proto/base/utf8.h"

namespace mh {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr std::array<Unit, 10> kSizeUnits = {{{"", 1},
                                              {"B", 1},
                                              {"KB", 1e3},
                                              {"MB", 1e6},
                                              {"GB", 1e9},
                                              {"TB", 1e12},
                                              {"KiB", 1024.0},
                                              {"MiB", 1048576.0},
                                              {"GiB", 1073741824.0},
                                              {"TiB", 1099511627776.0}}};
constexpr std::array<Unit, 5> kTimeUnits = {
    {{"ms", 1}, {"s", 1e3}, {"m", 6e4}, {"h", 3.6e6}, {"d", 8.64e7}}};

// A non-negative number with one of the units, in the smallest unit.
template <std::size_t N>
std::optional<double> parse_quantity(std::string_view text, const std::array<Unit, N>& units) {
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (error != std::errc() || !(number >= 0)) return std::nullopt;
  std::string_view unit_name(rest, static_cast<std::size_t>(end - rest));
  while (unit_name.starts_with(' ')) unit_name.remove_prefix(1);
  for (const Unit& unit : units) {
    if (unit.name == unit_name) return number * unit.factor;
  }
  return std::nullopt;
}

template <class... Arguments>
std::string print(const char* format, Arguments... arguments) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), format, arguments...);
  return text.data();
}

}  // namespace

int exit_code_of(const Error& error) {
  switch (error.code) {
    case Errc::kInvalidArgument:
    case Errc::kOutOfRange:
      return kExitUsage;
    case Errc::kUnavailable:
    case Errc::kUnauthenticated:
    case Errc::kPermissionDenied:
    case Errc::kDeadlineExceeded:
      return kExitUnreachable;
    default:
      return kExitFailed;
  }
}

std::optional<int> parse_command_line(CLI::App& app, int argc, const char* const* argv) {
  if (KillPoint::is_list_wanted()) {
    for (const std::string& name : KillPoint::names()) std::cout << name << "\n";
    return kExitDone;
  }
  if (argc == 2 && std::string_view(argv[1]) == "--man") {
    std::cout << manual_page(app);
    return kExitDone;
  }
  if (argc == 2 && std::string_view(argv[1]) == "--bash-completion") {
    std::cout << bash_completion(app);
    return kExitDone;
  }
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::RequiredError& error) {
    // A word that is no verb is why none was found.
    const std::vector<std::string> unknown = app.remaining(true);
    if (unknown.empty()) return app.exit(error) == 0 ? kExitDone : kExitUsage;
    std::fprintf(stderr, "%s: '%s' is unknown here: run with --help for what there is\n",
                 app.get_name().c_str(), unknown.front().substr(0, 64).c_str());
    return kExitUsage;
  } catch (const CLI::ParseError& error) {
    // CLI11 prints help to stdout, mistakes to stderr.
    return app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
}

std::optional<std::string> environment_value(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string(value);
}

Result<HostPort> parse_host_port(std::string_view text) {
  const std::string shown = "\"" + plain_text(text, 256) + "\"";
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return fail(Errc::kInvalidArgument, "address " + shown + " has no port; write HOST:PORT");
  }
  std::string_view host = text.substr(0, colon);
  const std::string_view port_text = text.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return fail(Errc::kInvalidArgument,
                "address " + shown + ": write an IPv6 address in brackets, as in [::1]:8080");
  }
  if (host.empty()) return fail(Errc::kInvalidArgument, "address " + shown + " has no host");
  unsigned port = 0;
  const char* end = port_text.data() + port_text.size();
  const auto [rest, error] = std::from_chars(port_text.data(), end, port);
  if (error != std::errc() || rest != end || port > 65535) {
    return fail(Errc::kInvalidArgument,
                "address " + shown + ": the port must be a number from 0 to 65535");
  }
  return HostPort{std::string(host), static_cast<std::uint16_t>(port)};
}

Result<std::uint64_t> parse_byte_size(std::string_view text) {
  const auto bytes = parse_quantity(text, kSizeUnits);
  if (!bytes || *bytes > 9e18) {
    return fail(Errc::kInvalidArgument,
                "\"" + plain_text(text, 64) + "\" is not a size; write for example 512MiB or 2GB");
  }
  return static_cast<std::uint64_t>(std::llround(*bytes));
}

Result<std::chrono::milliseconds> parse_duration(std::string_view text) {
  const auto milliseconds = parse_quantity(text, kTimeUnits);
  if (!milliseconds || *milliseconds > 9e15) {
    return fail(Errc::kInvalidArgument,
                "\"" + plain_text(text, 64) +
                    "\" is not a duration; write for example 250ms, 25s, 10m, 2h or 7d");
  }
  return std::chrono::milliseconds(std::llround(*milliseconds));
}

std::string format_byte_size(std::uint64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (value < 1e3) return std::to_string(bytes) + " B";
  if (value < 1e6) return print("%.1f KB", value / 1e3);
  if (value < 1e9) return print("%.1f MB", value / 1e6);
  if (value < 1e12) return print("%.1f GB", value / 1e9);
  return print("%.1f TB", value / 1e12);
}

std::string format_duration(std::chrono::milliseconds duration) {
  const auto milliseconds = static_cast<long long>(duration.count());
  if (milliseconds < 1000) return print("%lld ms", milliseconds);
  if (milliseconds < 60'000) return print("%.1f s", static_cast<double>(milliseconds) / 1e3);
  const long long seconds = milliseconds / 1000;
  if (seconds < 3600) return print("%lld min %02lld s", seconds / 60, seconds % 60);
  return print("%lld h %02lld min", seconds / 3600, seconds / 60 % 60);
}

Result<std::string> xdg_folder(const char* variable, std::string_view fallback) {
  if (const auto value = environment_value(variable); value && value->front() == '/') return *value;
  if (const auto home = environment_value("HOME")) return *home + "/" + std::string(fallback);
  return fail(Errc::kFailedPrecondition,
              std::string("neither ") + variable + " nor HOME is set; give the folder explicitly");
}

}  // namespace mh
