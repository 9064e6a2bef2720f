// See app.h.
#include "client/cli/app.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <map>
#include <memory>

#include "client/cli/verb.h"
#include "proto/base/build_info.h"
#include "proto/base/options.h"
#include "proto/base/program_manual.h"

namespace mh::cli {
namespace {

constexpr const char* kExitCodes =
    "Exit codes: 0 done; 1 the thing asked about failed or does not exist; 2 wrong usage or "
    "input;\n"
    "3 the server cannot be reached or does not allow it.";

// Gives a verb's options to CLI11.
class CliOptions final : public OptionSink {
 public:
  explicit CliOptions(CLI::App& app) : app_(app) {}

  void positional(const char* name, std::string& value, const char* help) override {
    app_.add_option(name, value, help)->required();
  }
  void positionals(const char* name, std::vector<std::string>& values, const char* help) override {
    app_.add_option(name, values, help);
  }
  void text(const char* name, std::string& value, const char* help) override {
    app_.add_option(name, value, help)
        ->capture_default_str()
        ->check(CLI::Validator(
            [](std::string& given) {
              return given.empty() ? std::string("it is empty") : std::string();
            },
            ""));
  }
  void texts(const char* name, std::vector<std::string>& values, const char* help) override {
    app_.add_option(name, values, help)
        ->expected(1)
        ->allow_extra_args(false)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  }
  void number(const char* name, std::uint64_t& value, std::uint64_t least, std::uint64_t most,
              const char* help) override {
    app_.add_option(name, value, help)
        ->capture_default_str()
        ->check(CLI::Validator(
            [least, most](std::string& text) {
              // Not CLI11's own reading, which takes a number that is too large for the largest.
              std::uint64_t number = 0;
              const char* end = text.data() + text.size();
              const auto [rest, error] = std::from_chars(text.data(), end, number);
              return error == std::errc() && rest == end && number >= least && number <= most
                         ? std::string()
                         : "'" + text + "' is no whole number from " + std::to_string(least) +
                               " to " + std::to_string(most);
            },
            "NUMBER"));
  }
  void real(const char* name, double& value, const char* help) override {
    app_.add_option(name, value, help)->capture_default_str();
  }
  void flag(const char* name, bool& value, const char* help) override {
    app_.add_flag(name, value, help);
  }

 private:
  CLI::App& app_;
};

void add_global_flags(CLI::App& app, GlobalFlags& flags) {
  app.add_option("--server", flags.login.server,
                 "The server's URL [MANYHANDS_SERVER, else the login]");
  app.add_option("--token-file", flags.login.token_file,
                 "File with the token; - is standard input [MANYHANDS_TOKEN, else the login]");
  app.add_option("--ca-file", flags.login.authority_file,
                 "PEM file of the authorities to trust instead of the system's");
  app.add_flag("--insecure-http", flags.login.is_insecure_http,
               "Use an http:// address beyond this machine: everything travels readable");
  app.add_flag("--json", flags.wants_json, "Print JSON for scripts");
}

struct CommandLine {
  GlobalFlags flags;
  VerbRun chosen;
};

void add_verbs(CLI::App& app, CommandLine& line) {
  std::map<std::string, CLI::App*> groups;
  for (const Verb& verb : all_verbs()) {
    CLI::App* parent = &app;
    if (*verb.group != '\0') {
      CLI::App*& group = groups[verb.group];
      if (group == nullptr) {
        group = app.add_subcommand(verb.group, std::string("Everything about ") + verb.group + "s");
        group->require_subcommand(1);
      }
      parent = group;
    }
    CLI::App* sub = parent->add_subcommand(verb.name, verb.what);
    sub->footer(std::string("Example:\n  ") + verb.example + "\n\n" + kExitCodes);
    CliOptions options(*sub);
    VerbRun run = verb.define(options);
    add_global_flags(*sub, line.flags);
    sub->callback([&line, run = std::move(run)] { line.chosen = run; });
  }
}

void define_app(CLI::App& app, CommandLine& line) {
  app.description("manyhands: data sets, jobs, models and hosts of a Manyhands server");
  app.name("manyhands");
  app.set_version_flag("--version", std::string(kVersion));
  app.require_subcommand(1);
  app.footer(
      std::string(
          "Example:\n  manyhands login 'https://127.0.0.1:8470/#@FINGERPRINT' "
          "--token-file srv/admin.token\n  manyhands job list\n\nEvery command has --help. ") +
      kExitCodes);
  add_verbs(app, line);
}

}  // namespace

std::string bash_completion_script() {
  CLI::App app;
  CommandLine line;
  define_app(app, line);
  return bash_completion(app);
}

int run_cli(int argc, const char* const* argv, std::ostream& out, std::ostream& err) {
  CLI::App app;
  CommandLine line;
  define_app(app, line);
  if (const auto code = parse_command_line(app, argc, argv)) return *code;
  Context context(line.flags, out, err);
  const Result<int> outcome = line.chosen(context);
  if (!out.flush() && outcome.has_value()) {
    err << "manyhands: cannot write to standard output" << std::endl;
    return kExitFailed;
  }
  if (outcome.has_value()) return *outcome;
  err << "manyhands: " << outcome.error().message << std::endl;
  return exit_code_of(outcome.error());
}

}  // namespace mh::cli
