// Logging: one line an event, as text or as JSON, to stderr. `message` says what happened, the
// fields say to what: log_info("lease expired", {{"result", id}, {"host", host}}).
// Secrets are never fields. spdlog stays behind this header. Threads: any.
#pragma once

#include <concepts>
#include <initializer_list>
#include <string>
#include <string_view>

namespace mh {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

// One key=value of a log line.
struct LogField {
  LogField(std::string_view name, std::string_view text) : key(name), value(text) {}
  LogField(std::string_view name, const char* text) : key(name), value(text) {}
  LogField(std::string_view name, const std::string& text) : key(name), value(text) {}
  template <class T>
  requires std::integral<T> || std::floating_point<T> LogField(std::string_view name, T number)
      : key(name), value(std::to_string(number)), is_number(true) {}
  template <class T>
  requires requires(T id) {
    to_string(id);
  } &&(!std::integral<T>)&&(!std::floating_point<T>)LogField(std::string_view name, T id)
      : key(name), value(to_string(id)), is_number(true) {
  }

  std::string key;
  std::string value;
  bool is_number = false;
};
using LogFields = std::initializer_list<LogField>;

// Call once, before other threads start. Default: text, kInfo.
void log_setup(LogFormat format, LogLevel least);

void log(LogLevel level, std::string_view message, LogFields fields);
inline void log_debug(std::string_view message, LogFields fields = {}) {
  log(LogLevel::kDebug, message, fields);
}
inline void log_info(std::string_view message, LogFields fields = {}) {
  log(LogLevel::kInfo, message, fields);
}
inline void log_warn(std::string_view message, LogFields fields = {}) {
  log(LogLevel::kWarning, message, fields);
}
inline void log_error(std::string_view message, LogFields fields = {}) {
  log(LogLevel::kError, message, fields);
}

}  // namespace mh
