// See commands.h. One table of options a verb: name, default, range, help.
#include "server/commands.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <iostream>

#include "proto/base/build_info.h"
#include "proto/base/log.h"
#include "proto/base/options.h"
#include "proto/base/utf8.h"
#include "proto/net/url.h"
#include "server/app.h"
#include "server/certificate_verb.h"
#include "server/folder_commands.h"
#include "server/server_folder.h"
#include "server/tls_identity.h"

namespace mh::server {
namespace {

// Options that are texts until they have been parsed.
struct RunTexts {
  std::string log_format = "text";
  std::string log_level = "info";
  std::string disk_reserve = "256MB";
  std::string keep_bytes = "4GB";
};

int tell(const Error& error) {
  std::cerr << "manyhands-server: " << error.message << "\n";
  return exit_code_of(error);
}

struct InitTexts {
  std::filesystem::path folder;
  NewServerOptions options;
  std::string invitation_lifetime = "7d";
};

int init(InitTexts texts) {
  const auto lifetime = parse_duration(texts.invitation_lifetime);
  if (!lifetime || lifetime->count() < 1000)
    return tell(
        fail(Errc::kInvalidArgument, "--invitation-for: a duration of at least 1s, like 7d"));
  texts.options.invitation_lifetime = std::chrono::duration_cast<std::chrono::seconds>(*lifetime);
  const TimePoint now = SystemClock().now();
  if (auto made = make_server_folder(texts.folder, now, texts.options); !made)
    return tell(made.error());
  const ServerFolder made{texts.folder};
  const auto identity = open_tls_identity(made, {}, now);
  if (!identity) return tell(identity.error());
  std::cout << "Made " << texts.folder.string() << "\n"
            << "  " << made.admin_token().string() << "   the admin's token: keep it secret\n"
            << "  " << made.invitation().string() << "    what volunteers join with\n"
            << "  " << made.tls_key().string()
            << "       its identity: keep it secret, back it up\n"
            << "Volunteers know it by the fingerprint "
            << net::fingerprint_text(identity->facts.fingerprint) << "\n"
            << "Start it with: manyhands-server run " << texts.folder.string() << "\n";
  return kExitDone;
}

void add_init_options(CLI::App& verb, InitTexts& texts) {
  verb.add_option("DIR", texts.folder, "folder to make; must be missing or empty")->required();
  verb.add_option(
          "--name", texts.options.names,
          "host name or address that the certificate is for beside this machine, for browsers "
          "and curl; may be repeated")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  verb.add_option("--invitation-uses", texts.options.invitation_uses,
                  "how many hosts may join with the first invitation")
      ->check(CLI::Range(1u, 1'000'000u))
      ->capture_default_str();
  verb.add_option("--invitation-for", texts.invitation_lifetime, "... and how long it works")
      ->type_name("DURATION")
      ->capture_default_str();
  verb.footer("Example: manyhands-server init my-server --name train.example.org");
}

void set_up_log(const RunTexts& texts) {
  LogLevel level = LogLevel::kInfo;
  if (texts.log_level == "debug") level = LogLevel::kDebug;
  if (texts.log_level == "warning") level = LogLevel::kWarning;
  if (texts.log_level == "error") level = LogLevel::kError;
  log_setup(texts.log_format == "json" ? LogFormat::kJson : LogFormat::kText, level);
}

int run(ServerOptions options, const RunTexts& texts) {
  set_up_log(texts);
  const auto reserve = parse_byte_size(texts.disk_reserve);
  if (!reserve)
    return tell(fail(reserve.error().code, "--disk-reserve: " + reserve.error().message));
  options.disk_reserve_bytes = *reserve;
  const auto keep = parse_byte_size(texts.keep_bytes);
  if (!keep) return tell(fail(keep.error().code, "--keep-bytes: " + keep.error().message));
  options.keep_bytes = *keep;
  // A peer that hangs up is an error value, not a signal.
  std::signal(SIGPIPE, SIG_IGN);
  if (!options.public_url.empty()) {
    const auto url = net::parse_url(options.public_url);
    if (!url) return tell(fail(Errc::kInvalidArgument, "--public-url " + url.error().message));
    while (options.public_url.ends_with('/')) options.public_url.pop_back();
  }
  auto app = App::open(options);
  if (!app) return tell(app.error());
  if (auto status = (*app)->run(); !status) return tell(status.error());
  return kExitDone;
}

void add_upload_options(CLI::App& verb, ServerOptions& options) {
  verb.add_option_function<std::string>(
          "--upload-lifetime",
          [&options](const std::string& text) {
            const auto lifetime = parse_duration(text);
            if (!lifetime || lifetime->count() < 1000)
              throw CLI::ValidationError("--upload-lifetime",
                                         "a duration of at least 1s, like 24h");
            options.upload_lifetime = *lifetime;
          },
          "an unfinished upload that nobody touched for so long is removed")
      ->type_name("DURATION")
      ->default_str("24h");
  verb.add_option("--uploads-per-host", options.uploads_per_owner,
                  "unfinished uploads that one host or account may have")
      ->check(CLI::Range(1u, 100'000u))
      ->capture_default_str();
  verb.add_option_function<std::string>(
          "--upload-bytes-per-host",
          [&options](const std::string& text) {
            const auto bytes = parse_byte_size(text);
            if (!bytes || *bytes == 0)
              throw CLI::ValidationError("--upload-bytes-per-host", "a size, like 16GiB");
            options.upload_bytes_per_owner = *bytes;
          },
          "... and their announced bytes together")
      ->type_name("SIZE")
      ->default_str("16GiB");
}

void add_retention_options(CLI::App& verb, ServerOptions& options, RunTexts& texts) {
  verb.add_option("--checkpoints-kept", options.checkpoints_kept,
                  "of each job keep the newest so many checkpoints, and the best one")
      ->type_name("K")
      ->check(CLI::Range(1U, 1'000'000U))
      ->capture_default_str();
  verb.add_option("--checkpoint-every", options.checkpoint_every,
                  "keep every Nth checkpoint, too; 0: none")
      ->type_name("N")
      ->capture_default_str();
  verb.add_option("--keep-steps", options.keep_steps,
                  "of each job keep the updates of so many past steps, for audits and rewinds")
      ->type_name("N")
      ->check(CLI::Range(0U, kKeepStepsMax))
      ->capture_default_str();
  verb.add_option("--keep-bytes", texts.keep_bytes,
                  "... but of all jobs together at most this; the oldest go first")
      ->type_name("SIZE")
      ->capture_default_str();
}

void add_limit_options(CLI::App& verb, ServerOptions& options) {
  const auto add = [&verb](const char* name, std::size_t& value, const char* help) {
    verb.add_option(name, value, help)
        ->check(CLI::Range(std::size_t{1}, kConnectionsMax))
        ->capture_default_str();
  };
  add("--connections-max", options.connections_max, "connections at a time");
  add("--connections-per-address-max", options.connections_per_address_max,
      "connections at a time from one address (many volunteers may share one)");
  add("--held-calls-max", options.held_calls_max, "calls at a time that wait for work or news");
  add("--commits-max", options.commits_max,
      "decisions at a time on their way to the disk; above, calls are refused with Retry-After");
}

bool is_one_line(const std::string& text) {
  return !find_bad_utf8(text) && std::none_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < ' ' || c == 0x7F;
  });
}

void add_tls_options(CLI::App& verb, ServerOptions& options) {
  verb.add_option("--tls-certificate", options.tls_certificate,
                  "PEM file with a certificate of your own (and those that lead to its authority), "
                  "instead of DIR/tls.crt")
      ->type_name("FILE");
  verb.add_option("--tls-key", options.tls_key, "... and the PEM file with its key")
      ->type_name("FILE");
  verb.add_flag("--plain-http", options.plain_http,
                "no TLS; on this machine only, for example behind a proxy that does TLS");
  verb.add_flag("--insecure-http", options.insecure_http,
                "no TLS, on any address: secrets travel readable (closed networks only)");
}

void add_run_options(CLI::App& verb, ServerOptions& options, RunTexts& texts) {
  verb.add_option("DIR", options.folder, "folder made by 'init'")->required();
  verb.add_option("--listen", options.listen, "where to listen; port 0 takes a free one")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  verb.add_option("--port-file", options.port_file,
                  "the port is written there once the server listens")
      ->type_name("FILE");
  verb.add_option("--public-url", options.public_url,
                  "what volunteers reach the server by, for join lines (default: from --listen)")
      ->type_name("URL");
  verb.add_option("--run-by", options.run_by,
                  "who runs this project and how to reach you; volunteers see it before they join")
      ->type_name("TEXT")
      ->check(CLI::Validator(
          [](std::string& text) {
            return text.size() <= kRunByBytesMax && is_one_line(text)
                       ? std::string()
                       : "one line of at most " + std::to_string(kRunByBytesMax) + " bytes";
          },
          ""));
  add_tls_options(verb, options);
  verb.add_option("--io-threads", options.io_threads, "threads that serve connections")
      ->check(CLI::Range(1u, kThreadsMax))
      ->capture_default_str();
  verb.add_option("--pool-threads", options.pool_threads, "threads that read and write blobs")
      ->check(CLI::Range(1u, kThreadsMax))
      ->capture_default_str();
  add_upload_options(verb, options);
  add_limit_options(verb, options);
  add_retention_options(verb, options, texts);
  verb.add_option("--log-format", texts.log_format, "text or json, to stderr")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  verb.add_option("--disk-reserve", texts.disk_reserve,
                  "with less free on the folder's disk: no uploads, no new work")
      ->type_name("SIZE")
      ->capture_default_str();
  verb.add_option("--log-level", texts.log_level, "debug, info, warning or error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str();
}

}  // namespace

int run_command_line(int argc, const char* const* argv) {
  CLI::App app("The server of Manyhands: takes jobs, leases work to volunteers, trains the model.",
               "manyhands-server");
  app.set_version_flag("--version", std::string(kVersion));
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 stopped in order, 1 could not go on, 2 usage, 3 the folder or the port "
      "is in use.\nMore: docs/operating.md");

  InitTexts init_texts;
  CLI::App& init_verb = *app.add_subcommand(
      "init", "Makes a new server: database, identity, an admin's token, an invitation.");
  add_init_options(init_verb, init_texts);

  ServerOptions options;
  RunTexts texts;
  CLI::App& run_verb =
      *app.add_subcommand("run", "Serves until SIGTERM or Ctrl-C; prints how to join and log in.");
  add_run_options(run_verb, options, texts);
  run_verb.footer("Example: manyhands-server run my-server --listen 127.0.0.1:8470");

  CertificateVerb certificate_verb(app);
  FolderVerbs folder_verbs(app);

  if (const auto code = parse_command_line(app, argc, argv)) return *code;
  if (const auto code = certificate_verb.run()) return *code;
  if (const auto code = folder_verbs.run()) return *code;
  return init_verb.parsed() ? init(std::move(init_texts)) : run(std::move(options), texts);
}

}  // namespace mh::server
