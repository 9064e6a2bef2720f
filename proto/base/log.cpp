#include "proto/base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

namespace mh {
namespace {

LogFormat g_format = LogFormat::kText;

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = spdlog::stderr_logger_mt("manyhands");
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
    made->flush_on(spdlog::level::debug);
    return made;
  }();
  return *instance;
}

bool needs_quotes(std::string_view text) {
  return text.empty() || text.find_first_of(" \"=\n\r\t") != std::string_view::npos;
}

std::string as_text_line(std::string_view message, LogFields fields) {
  std::string line(message);
  for (const LogField& field : fields) {
    line += ' ' + field.key + '=';
    line += needs_quotes(field.value)
                ? nlohmann::json(field.value)
                      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
                : field.value;
  }
  return line;
}

std::string as_json_line(LogLevel level, std::string_view message, LogFields fields) {
  nlohmann::ordered_json line;
  line["level"] = spdlog::level::to_string_view(to_spdlog(level)).data();
  line["message"] = message;
  for (const LogField& field : fields) {
    if (field.is_number)
      line[field.key] = nlohmann::ordered_json::parse(field.value, nullptr, false);
    else
      line[field.key] = field.value;
  }
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

void log_setup(LogFormat format, LogLevel least) {
  g_format = format;
  logger().set_level(to_spdlog(least));
  if (format == LogFormat::kJson)
    logger().set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ",%v)", spdlog::pattern_time_type::utc);
}

void log(LogLevel level, std::string_view message, LogFields fields) {
  if (!logger().should_log(to_spdlog(level))) return;
  // A JSON line is the object without its opening brace: the pattern writes it with the time.
  const std::string line = g_format == LogFormat::kJson
                               ? as_json_line(level, message, fields).substr(1)
                               : as_text_line(message, fields);
  logger().log(to_spdlog(level), line);
}

}  // namespace mh
