// The verbs of manyhands-server that look after a folder: backup, check, gc, migrate. From options
// to an exit code. Threads: one.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "server/folder_backup.h"
#include "server/folder_check.h"
#include "server/folder_gc.h"

namespace CLI {
class App;
}

namespace mh::server {

class FolderVerbs {
 public:
  // Adds the verbs; both must outlive the parsing.
  explicit FolderVerbs(CLI::App& app);
  // Runs the one that was given; nothing if none was.
  std::optional<int> run();

 private:
  void add_backup(CLI::App& app);
  void add_check(CLI::App& app);
  void add_gc(CLI::App& app);
  void add_migrate(CLI::App& app);
  int backup();
  int check();
  int gc();
  int migrate();

  CLI::App* backup_ = nullptr;
  CLI::App* check_ = nullptr;
  CLI::App* gc_ = nullptr;
  CLI::App* migrate_ = nullptr;
  std::filesystem::path folder_;
  std::filesystem::path out_;
  bool is_json_ = false;
  BackupOptions backup_options_;
  CheckOptions check_options_;
  GcOptions gc_options_;
  std::string older_than_ = "24h";
  std::optional<std::uint32_t> checkpoints_kept_;
  std::optional<std::uint64_t> checkpoint_every_;
};

}  // namespace mh::server
