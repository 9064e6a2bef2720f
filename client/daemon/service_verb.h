// `manyhands-client service install|remove|status`. See service.h.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "proto/base/result.h"

namespace CLI {
class App;
}

namespace mh::client {

/// Must live as long as the parser.
class ServiceVerb {
 public:
  /// Adds the verbs; `dir` takes their --dir.
  ServiceVerb(CLI::App& app, std::string& dir);

  /// One of the verbs was given.
  bool is_chosen() const { return static_cast<bool>(chosen_); }
  /// Does it, and says what was done. Requires: is_chosen().
  Status run() const { return chosen_(); }

 private:
  CLI::App& add(CLI::App& group, const char* name, const char* what, const char* example,
                Status (ServiceVerb::*action)() const);
  Status install() const;
  Status remove() const;
  Status status() const;

  std::string& dir_;
  bool is_dry_run_ = false;
  bool wants_json_ = false;
  std::vector<std::string> run_options_;
  std::function<Status()> chosen_;
};

}  // namespace mh::client
