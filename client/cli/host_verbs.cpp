// `manyhands host list|show|trust|untrust|forgive`.
#include <algorithm>

#include "client/cli/table.h"
#include "client/cli/verb.h"
#include "manyhands/v1/admin.pb.h"
#include "proto/base/options.h"

namespace mh::cli {
namespace {

namespace v1 = manyhands::v1;

constexpr auto kRight = Table::Align::kRight;

std::string seen_text(const v1::Host& host) {
  if (host.detached()) return "detached";
  return time_text(host.last_seen_ms());
}

Result<int> run_list(Context& context) {
  MH_TRY(const auto reply,
         context.call<v1::ListHostsResponse>("HostService/ListHosts", v1::ListHostsRequest()));
  if (context.wants_json()) {
    context.print_json(reply);
    return kExitDone;
  }
  Table table({{"ID", kRight},
               {"NAME"},
               {"DEVICE"},
               {"THREADS", kRight},
               {"STANDING"},
               {"LEASES", kRight},
               {"VALID", kRight},
               {"REJECTED", kRight},
               {"FAILED", kRight},
               {"LOST", kRight},
               {"GFLOP/S", kRight},
               {"CREDIT/GFLOP", kRight},
               {"HELD", kRight},
               {"LAST SEEN (UTC)"}});
  for (const v1::Host& host : reply.hosts())
    table.add_row({std::to_string(host.id()), host.name(), host.device(),
                   std::to_string(host.threads()), host.trusted() ? "trusted" : host.standing(),
                   std::to_string(host.lease_count()), with_commas(host.valid_count()),
                   with_commas(host.rejected_count()), with_commas(host.failed_count()),
                   with_commas(host.lost_count()), decimal(host.gflops(), 1),
                   decimal(host.credit(), 1), decimal(host.credit_held(), 1), seen_text(host)});
  context.out() << (table.is_empty() ? "No hosts; 'manyhands account invite' prints what a "
                                       "volunteer types to join.\n"
                                     : table.text());
  return kExitDone;
}

std::string standing_text(const v1::Host& host) {
  std::string text = host.standing();
  if (!host.standing_reason().empty()) text += ": " + host.standing_reason();
  return text;
}

void print_log(Context& context, const v1::GetHostResponse& reply) {
  if (reply.log().empty()) return;
  context.out() << "\nChanges of its standing, oldest first:\n";
  Table table({{"TIME (UTC)"}, {"STANDING"}, {"JOB", kRight}, {"RESULT", kRight}, {"WHY"}});
  const auto id_text = [](std::uint64_t id) { return id == 0 ? "-" : std::to_string(id); };
  for (const v1::HostLogEntry& entry : reply.log())
    table.add_row({time_text(entry.time_ms()), entry.standing(), id_text(entry.job_id()),
                   id_text(entry.result_id()), entry.text()});
  context.out() << table.text();
}

Result<int> run_show(Context& context, const std::string& id_or_name) {
  v1::GetHostRequest request;
  MH_TRY(const auto id, find_host(context, id_or_name));
  request.set_id(id);
  MH_TRY(const auto reply, context.call<v1::GetHostResponse>("HostService/GetHost", request));
  if (context.wants_json()) {
    context.print_json(reply);
    return kExitDone;
  }
  const v1::Host& host = reply.host();
  const auto line = [&context](std::string label, const std::string& value) {
    label.resize(12, ' ');
    context.out() << label << printable(value) << "\n";
  };
  line("host", std::to_string(host.id()) + " '" + host.name() + "'");
  line("platform", host.platform() + ", client " + host.client_version());
  line("device", host.device() + " (" + host.device_model() + "), " +
                     std::to_string(host.threads()) + " threads");
  line("trusted", host.trusted() ? "yes: does evaluations, nobody checks it" : "no");
  line("standing", standing_text(host));
  line("attached", time_text(host.attached_ms()) + " UTC");
  line("last seen", seen_text(host));
  line("leases", std::to_string(host.lease_count()));
  line("results", with_commas(host.valid_count()) + " valid, " +
                      with_commas(host.rejected_count()) + " rejected, " +
                      with_commas(host.failed_count()) + " failed, " +
                      with_commas(host.lost_count()) + " lost");
  line("checks", with_commas(host.checked_count()) + " results compared with other hosts', " +
                     with_commas(host.differed_count()) + " wrong; " +
                     with_commas(host.valid_in_row()) + " valid in a row");
  line("credit", decimal(host.credit(), 1) + " GFLOP granted, " + decimal(host.credit_held(), 1) +
                     " held back until a check passes");
  line("speed", decimal(host.gflops(), 1) + " GFLOP/s");
  print_log(context, reply);
  return kExitDone;
}

Result<int> set_trust(Context& context, const std::string& id_or_name, bool is_trusted) {
  v1::SetHostTrustRequest request;
  MH_TRY(const auto id, find_host(context, id_or_name));
  request.set_id(id);
  request.set_trusted(is_trusted);
  MH_TRY(const auto reply,
         context.call<v1::SetHostTrustResponse>("HostService/SetHostTrust", request));
  if (context.wants_json())
    context.print_json(reply);
  else
    context.out() << "Host " << reply.host().id() << " '" << printable(reply.host().name())
                  << (is_trusted ? "' is trusted: it does evaluations.\n"
                                 : "' is no longer trusted.\n");
  return kExitDone;
}

Result<int> run_forgive(Context& context, const std::string& id_or_name) {
  v1::ForgiveHostRequest request;
  MH_TRY(const auto id, find_host(context, id_or_name));
  request.set_id(id);
  MH_TRY(const auto reply,
         context.call<v1::ForgiveHostResponse>("HostService/ForgiveHost", request));
  if (context.wants_json())
    context.print_json(reply);
  else
    context.out() << "Host " << reply.host().id() << " '" << printable(reply.host().name())
                  << "' is forgiven: it is new again, and all its results are checked.\n";
  return kExitDone;
}

Result<int> run_trust(Context& context, const std::string& host) {
  return set_trust(context, host, true);
}
Result<int> run_untrust(Context& context, const std::string& host) {
  return set_trust(context, host, false);
}

std::function<VerbRun(OptionSink&)> with_host(Result<int> (*run)(Context&, const std::string&)) {
  return [run](OptionSink& options) -> VerbRun {
    const auto host = std::make_shared<std::string>();
    options.positional("host", *host, "Id or name of the host");
    return [run, host](Context& context) { return run(context, *host); };
  };
}

}  // namespace

Result<std::uint64_t> find_host(Context& context, const std::string& id_or_name) {
  const bool is_id = !id_or_name.empty() && id_or_name.size() < 20 &&
                     id_or_name.find_first_not_of("0123456789") == std::string::npos;
  if (is_id) return std::stoull(id_or_name);
  MH_TRY(const auto reply,
         context.call<v1::ListHostsResponse>("HostService/ListHosts", v1::ListHostsRequest()));
  std::vector<std::uint64_t> found;
  for (const v1::Host& host : reply.hosts()) {
    if (host.name() == id_or_name && !host.detached()) found.push_back(host.id());
  }
  if (found.size() == 1) return found[0];
  return fail(Errc::kNotFound, found.empty()
                                   ? "no attached host is named '" + id_or_name + "'"
                                   : std::to_string(found.size()) + " hosts are named '" +
                                         id_or_name + "': give the id, from 'manyhands host list'");
}

std::vector<Verb> host_verbs() {
  return {{"host", "list", "Show all hosts", "manyhands host list",
           [](OptionSink&) -> VerbRun { return run_list; }},
          {"host", "show", "Show a host", "manyhands host show 1", with_host(run_show)},
          {"host", "trust", "Trust a host: it does the evaluations", "manyhands host trust 1",
           with_host(run_trust)},
          {"host", "untrust", "Trust a host no longer", "manyhands host untrust 1",
           with_host(run_untrust)},
          {"host", "forgive", "Clear what counts against a host: it gets work again",
           "manyhands host forgive 3", with_host(run_forgive)}};
}

}  // namespace mh::cli
