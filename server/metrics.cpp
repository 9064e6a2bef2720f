// See metrics.h.
#include "server/metrics.h"

#include <cstdio>
#include <string_view>

#include "proto/base/build_info.h"

namespace mh::server {
namespace {

class Page {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    text_ += "# HELP manyhands_" + std::string(name) + " " + std::string(help) + "\n";
    text_ += "# TYPE manyhands_" + std::string(name) + " " + std::string(type) + "\n";
  }
  void value(std::string_view name, double number, const std::string& labels = {}) {
    char digits[40];
    std::snprintf(digits, sizeof digits, "%.17g", number);
    text_ += "manyhands_" + std::string(name) + labels + " " + digits + "\n";
  }
  void single(std::string_view name, std::string_view type, std::string_view help, double number) {
    family(name, type, help);
    value(name, number);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

std::string job_label(const scheduler::JobView& job) {
  return "{job=\"" + to_string(job.row.id) + "\"}";
}

void write_jobs(Page& page, const std::vector<scheduler::JobView>& jobs) {
  page.family("job_step", "gauge", "Steps done.");
  for (const auto& job : jobs) {
    page.value("job_step", static_cast<double>(job.row.step), job_label(job));
  }
  page.family("job_running", "gauge", "1 while the job runs.");
  for (const auto& job : jobs) {
    page.value("job_running", job.row.state == scheduler::JobState::kRunning ? 1 : 0,
               job_label(job));
  }
  page.family("job_samples_per_second", "gauge", "Samples counted per second, over 10 s.");
  for (const auto& job : jobs) {
    page.value("job_samples_per_second", job.samples_per_second, job_label(job));
  }
  page.family("job_training_loss", "gauge", "Mean loss of the last step.");
  for (const auto& job : jobs) {
    page.value("job_training_loss", job.row.training_loss, job_label(job));
  }
}

void write_http(Page& page, const net::HttpServerStats& http) {
  const auto number = [](std::uint64_t count) { return static_cast<double>(count); };
  page.single("http_requests_total", "counter", "Requests.", number(http.requests));
  page.single("http_requests_refused_total", "counter", "Requests refused before a handler.",
              number(http.requests_refused));
  page.single("http_connections_open", "gauge", "Open connections.", number(http.connections_open));
  page.single("http_connections_refused_total", "counter", "Connections over a limit.",
              number(http.connections_refused));
  page.single("http_calls_open", "gauge", "Calls under way, parked ones included.",
              number(http.calls_open));
  page.single("http_received_bytes_total", "counter", "Bytes received.",
              number(http.bytes_received));
  page.single("http_sent_bytes_total", "counter", "Bytes sent.", number(http.bytes_sent));
}

}  // namespace

std::string metrics_text(const MetricsSample& sample) {
  Page page;
  page.family("build_info", "gauge", "1, with the version as label.");
  page.value("build_info", 1, "{version=\"" + std::string(kVersion) + "\"}");
  page.single("hosts_attached", "gauge", "Hosts attached.",
              static_cast<double>(sample.attached_hosts));
  page.single("hosts_active", "gauge", "Hosts seen in the last minute.", sample.active_hosts);
  page.single("calls_parked", "gauge", "Calls waiting for work or for news of a job.",
              static_cast<double>(sample.parked_calls));
  page.single("uploads_unfinished", "gauge", "Uploads under way.",
              static_cast<double>(sample.unfinished_uploads));
  page.single("store_transitions_total", "counter", "Transitions committed.",
              static_cast<double>(sample.store.transitions));
  page.single("store_commits_total", "counter", "Database transactions that took.",
              static_cast<double>(sample.store.groups));
  page.single("degraded", "gauge", "1 while the disk is full or fails: no uploads, no new work.",
              sample.disk.is_degraded ? 1 : 0);
  page.single("disk_free_bytes", "gauge", "Free on the disk of the server's folder.",
              static_cast<double>(sample.disk.free_bytes));
  page.single("disk_reserve_bytes", "gauge", "Less free than this is degraded.",
              static_cast<double>(sample.disk.reserve_bytes));
  write_http(page, sample.http);
  write_jobs(page, sample.jobs);
  return page.take();
}

}  // namespace mh::server
