// See status_text.h.
#include "client/daemon/status_text.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "proto/base/options.h"

namespace mh::client {
namespace {

using Json = nlohmann::ordered_json;

std::string text_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end()) return "";
  if (found->is_string()) return found->get<std::string>();
  return found->dump();
}

std::uint64_t number_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

std::string line(std::string_view label, const std::string& value) {
  std::string text(label);
  text.resize(10, ' ');
  return text + value + "\n";
}

std::string gflop_text(const Json& status, const char* key) {
  const auto found = status.find(key);
  char text[64];
  std::snprintf(text, sizeof text, "%.1f",
                found != status.end() && found->is_number() ? found->get<double>() : 0.0);
  return text;
}

}  // namespace

Json status_json(const HostStatus& status) {
  Json work = Json::array();
  for (const HostStatus::Work& one : status.work)
    work.push_back({{"result_id", one.result.value()},
                    {"job_id", one.job.value()},
                    {"job_name", one.job_name},
                    {"step", one.step},
                    {"state", work_state_name(one.state)},
                    {"samples_done", one.samples_done},
                    {"samples", one.samples}});
  return {{"activity", status.activity},
          {"sentence", status.sentence},
          {"server_reachable", status.server_reachable},
          {"trainer_ready", status.trainer_ready},
          {"device", status.trainer.device},
          {"device_model", status.trainer.device_model},
          {"device_note", status.trainer.note},
          {"threads", status.trainer.threads},
          {"valid_count", status.valid_count},
          {"rejected_count", status.rejected_count},
          {"failed_count", status.failed_count},
          {"pending_count", status.pending_count},
          {"credit_gflop", status.credit},
          {"credit_held_gflop", status.credit_held},
          {"notice", status.notice},
          {"undelivered_count", status.undelivered_count},
          {"undelivered_bytes", status.undelivered_bytes},
          {"work", std::move(work)}};
}

std::string status_text(const Json& status) {
  std::string text = text_of(status, "sentence") + "\n\n";
  text += line("server", text_of(status, "server"));
  text += line("host", text_of(status, "host_id") + " (" + text_of(status, "name") + ")");
  std::string device = text_of(status, "device");
  if (device.empty()) {
    device = "not started";
  } else {
    device +=
        " (" + text_of(status, "device_model") + "), " + text_of(status, "threads") + " threads";
    if (const std::string note = text_of(status, "device_note"); !note.empty())
      device += "; " + note;
  }
  text += line("device", device);
  if (const auto sandbox = status.find("sandbox"); sandbox != status.end() && sandbox->is_object())
    text += line("sandbox", text_of(*sandbox, "sentence"));
  text += line("results", text_of(status, "valid_count") + " valid, " +
                              text_of(status, "pending_count") + " to be checked, " +
                              text_of(status, "rejected_count") + " rejected, " +
                              text_of(status, "failed_count") + " failed since the start");
  text +=
      line("credit", gflop_text(status, "credit_gflop") + " GFLOP, " +
                         gflop_text(status, "credit_held_gflop") + " more once a check has passed");
  if (const std::string notice = text_of(status, "notice"); !notice.empty())
    text += line("notice", notice);
  if (const std::uint64_t count = number_of(status, "undelivered_count"); count > 0)
    text += line("waiting", std::to_string(count) + " finished results (" +
                                format_byte_size(number_of(status, "undelivered_bytes")) +
                                ") to be delivered");
  text += line("cache", format_byte_size(number_of(status, "cache_bytes")) + " of at most " +
                            format_byte_size(number_of(status, "cache_bytes_max")));
  text +=
      line("network", format_byte_size(number_of(status, "bytes_down")) + " down, " +
                          format_byte_size(number_of(status, "bytes_up")) + " up since the start");
  const auto work = status.find("work");
  if (work == status.end() || !work->is_array()) return text;
  for (const Json& one : *work)
    text +=
        line("work", "result " + text_of(one, "result_id") + ": " + text_of(one, "state") +
                         ", job '" + text_of(one, "job_name") + "', step " + text_of(one, "step"));
  return text;
}

}  // namespace mh::client
