// `manyhands-server certificate`: shows the folder's own TLS certificate, or makes a new one. From
// options to an exit code. Threads: one.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace mh::server {

class CertificateVerb {
 public:
  // Adds the verb; both must outlive the parsing.
  explicit CertificateVerb(CLI::App& app);
  // Runs it if it was given.
  std::optional<int> run();

 private:
  CLI::App* verb_ = nullptr;
  std::filesystem::path folder_;
  std::vector<std::string> names_;
  bool is_renewing_ = false;
  bool is_new_key_ = false;
  bool is_json_ = false;
};

}  // namespace mh::server
