// A verb of `manyhands` ("job show"): what --help says of it, its options, and the function that
// does it. The tables of verbs are joined in verbs.cpp; app.cpp gives them a command line.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "client/cli/context.h"
#include "proto/base/result.h"

namespace mh::cli {

/// Takes the options of a verb. The values must live as long as the returned VerbRun.
class OptionSink {
 public:
  virtual ~OptionSink() = default;
  /// Given without a name; needed.
  virtual void positional(const char* name, std::string& value, const char* help) = 0;
  /// Given without a name, any number of times.
  virtual void positionals(const char* name, std::vector<std::string>& values,
                           const char* help) = 0;
  /// The names start with two dashes.
  virtual void text(const char* name, std::string& value, const char* help) = 0;
  virtual void texts(const char* name, std::vector<std::string>& values, const char* help) = 0;
  virtual void number(const char* name, std::uint64_t& value, std::uint64_t least,
                      std::uint64_t most, const char* help) = 0;
  virtual void real(const char* name, double& value, const char* help) = 0;
  virtual void flag(const char* name, bool& value, const char* help) = 0;
};

/// Does it. Returns the exit code (options.h), or the error that decides it.
using VerbRun = std::function<Result<int>(Context& context)>;

struct Verb {
  /// "job"; empty for verbs of one word.
  const char* group;
  const char* name;
  const char* what;
  const char* example;
  /// Adds the options and returns what runs with their values.
  std::function<VerbRun(OptionSink& options)> define;
};

std::vector<Verb> login_verbs();
std::vector<Verb> dataset_verbs();
std::vector<Verb> job_verbs();
std::vector<Verb> rewind_verbs();
std::vector<Verb> job_watch_verbs();
std::vector<Verb> host_verbs();
std::vector<Verb> account_verbs();
std::vector<Verb> model_verbs();
std::vector<Verb> aggregate_verbs();
std::vector<Verb> verify_verbs();
std::vector<Verb> completion_verbs();

/// All of them, in the order of --help.
std::vector<Verb> all_verbs();

/// "1" or "study": the id of a job; of several with that name the newest. Errors: kNotFound.
Result<std::uint64_t> find_job(Context& context, const std::string& id_or_name);
/// The same for verbs that change a job: a name that several jobs have is refused,
/// kInvalidArgument.
Result<std::uint64_t> find_job_to_change(Context& context, const std::string& id_or_name);
/// "3" or "attic": the id of a host. Errors: kNotFound (also: several have that name).
Result<std::uint64_t> find_host(Context& context, const std::string& id_or_name);

}  // namespace mh::cli
