// See folder_commands.h. One table of options a verb: name, default, range, help.
#include "server/folder_commands.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "proto/base/options.h"
#include "server/server_folder.h"
#include "server/sqlite_schema.h"

namespace mh::server {
namespace {

using Json = nlohmann::ordered_json;

int tell(const Error& error, bool is_json) {
  if (is_json) {
    std::cout << Json{{"error", error.message}}.dump(-1, ' ', false, Json::error_handler_t::replace)
              << "\n";
  }
  std::cerr << "manyhands-server: " << error.message << "\n";
  return exit_code_of(error);
}

void print(const Json& json) {
  std::cout << json.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
}

Json to_json(const CheckReport& report) {
  Json findings = Json::array();
  for (const Finding& finding : report.damage) {
    findings.push_back(
        {{"kind", finding.kind}, {"what", finding.what}, {"advice", finding.advice}});
  }
  return {{"isWhole", report.is_whole()},
          {"damage", findings},
          {"isRunning", report.is_running},
          {"schemaVersion", report.schema_version},
          {"jobCount", report.job_count},
          {"hostCount", report.host_count},
          {"blobCount", report.blob_count},
          {"blobBytes", report.blob_bytes},
          {"hashedCount", report.hashed_count},
          {"orphanCount", report.orphan_count},
          {"orphanBytes", report.orphan_bytes},
          {"temporaryCount", report.temporary_count},
          {"strangerCount", report.strangers.size()}};
}

void print(const CheckReport& report, const std::filesystem::path& folder) {
  for (const Finding& finding : report.damage) {
    std::cout << finding.kind << ": " << finding.what << "\n  " << finding.advice << "\n";
  }
  std::cout << folder.string() << ": "
            << (report.is_whole() ? std::string("whole")
                                  : std::to_string(report.damage.size()) + " findings")
            << "; schema version " << report.schema_version << ", " << report.job_count << " jobs, "
            << report.host_count << " hosts, " << report.blob_count << " blobs ("
            << format_byte_size(report.blob_bytes) << "), " << report.hashed_count
            << " of them read and hashed" << (report.is_running ? "; the server runs" : "") << "\n";
  if (report.orphan_count + report.temporary_count > 0) {
    std::cout << "  " << report.orphan_count << " blobs (" << format_byte_size(report.orphan_bytes)
              << ") that nothing needs and " << report.temporary_count
              << " half-made files: 'manyhands-server gc' deletes them\n";
  }
  for (const auto& path : report.strangers) {
    std::cout << "  " << path.string() << " is none of the server's files\n";
  }
}

}  // namespace

FolderVerbs::FolderVerbs(CLI::App& app) {
  add_backup(app);
  add_check(app);
  add_gc(app);
  add_migrate(app);
}

std::optional<int> FolderVerbs::run() {
  if (backup_->parsed()) return backup();
  if (check_->parsed()) return check();
  if (gc_->parsed()) return gc();
  if (migrate_->parsed()) return migrate();
  return std::nullopt;
}

void FolderVerbs::add_backup(CLI::App& app) {
  backup_ = app.add_subcommand("backup",
                               "Copies a folder, running or not, into one that 'run' can take up.");
  backup_->add_option("DIR", folder_, "the server's folder")->required();
  backup_->add_option("OUT", out_, "folder to make; must not exist")->required();
  backup_->add_flag("--copy", backup_options_.is_copying,
                    "copy blobs instead of linking them (on another disk that is so anyway)");
  backup_->add_flag("--quick", backup_options_.is_quick,
                    "check only the sizes of the copy's blobs, not their digests");
  backup_->add_flag("--despite-damage", backup_options_.is_despite_damage,
                    "make the copy although the original is damaged");
  backup_->add_flag("--json", is_json_, "print JSON");
  backup_->footer(
      "Links share the disk's blocks: to survive the loss of the disk, copy OUT to another one, or "
      "let OUT be there.\nExample: manyhands-server backup my-server backups/monday");
}

void FolderVerbs::add_check(CLI::App& app) {
  check_ = app.add_subcommand(
      "check", "Checks a folder, running or not: database, blobs, each against the other.");
  check_->add_option("DIR", folder_, "the server's folder")->required();
  check_->add_flag("--quick", check_options_.is_quick, "sizes of blobs, not their digests");
  check_->add_flag("--json", is_json_, "print JSON");
  check_->footer(
      "Exit codes: 0 whole, 1 damaged (each finding says what to do).\n"
      "Example: manyhands-server check my-server");
}

void FolderVerbs::add_gc(CLI::App& app) {
  gc_ = app.add_subcommand(
      "gc", "Deletes what a stopped server's folder does not need: orphan blobs, old uploads.");
  gc_->add_option("DIR", folder_, "the server's folder")->required();
  gc_->add_flag("--dry-run", gc_options_.is_dry_run, "delete nothing, say what would be deleted");
  gc_->add_option("--older-than", older_than_,
                  "orphans younger than this stay: a host may still report them")
      ->type_name("TIME")
      ->capture_default_str();
  gc_->add_option("--checkpoints-kept", checkpoints_kept_,
                  "of each job, ended ones too, keep the newest so many checkpoints, the best, and "
                  "those of --checkpoint-every (default: delete none)")
      ->type_name("K")
      ->check(CLI::Range(1U, 1'000'000U));
  gc_->add_option("--checkpoint-every", checkpoint_every_,
                  "with --checkpoints-kept: keep every Nth, too; 0: none (default: 0)")
      ->type_name("N")
      ->needs("--checkpoints-kept");
  gc_->add_flag("--json", is_json_, "print JSON");
  gc_->footer(
      "A running server deletes by itself what it stops needing; gc is for what crashes and "
      "clients "
      "that never came back have left.\nExample: manyhands-server gc my-server --dry-run");
}

void FolderVerbs::add_migrate(CLI::App& app) {
  migrate_ = app.add_subcommand(
      "migrate",
      "Brings a stopped server's database to this program's version; 'run' does so, too.");
  migrate_->add_option("DIR", folder_, "the server's folder")->required();
  migrate_->add_flag("--json", is_json_, "print JSON");
  migrate_->footer(
      "A copy of the old database stays beside it: manyhands.db.version-N.\n"
      "Example: manyhands-server migrate my-server");
}

int FolderVerbs::backup() {
  backup_options_.shows_progress = !is_json_;
  const auto report = backup_folder(folder_, out_, backup_options_, SystemClock().now());
  if (!report) return tell(report.error(), is_json_);
  if (is_json_) {
    print(Json{{"folder", out_.string()},
               {"linkedCount", report->linked_count},
               {"linkedBytes", report->linked_bytes},
               {"copiedCount", report->copied_count},
               {"copiedBytes", report->copied_bytes},
               {"databaseBytes", report->database_bytes},
               {"heldMs", report->held.count()},
               {"check", to_json(report->check)}});
  } else {
    std::cout << "Made " << out_.string() << ": database "
              << format_byte_size(report->database_bytes) << ", " << report->linked_count
              << " blobs linked (" << format_byte_size(report->linked_bytes) << "), "
              << report->copied_count << " copied (" << format_byte_size(report->copied_bytes)
              << "); deletions waited " << report->held.count() << " ms\n";
    print(report->check, out_);
    std::cout << "Start it with: manyhands-server run " << out_.string() << "\n";
  }
  return report->check.is_whole() ? kExitDone : kExitFailed;
}

int FolderVerbs::check() {
  check_options_.shows_progress = !is_json_;
  const auto report = check_folder(folder_, check_options_, SystemClock().now());
  if (!report) return tell(report.error(), is_json_);
  if (is_json_) {
    print(to_json(*report));
  } else {
    print(*report, folder_);
  }
  return report->is_whole() ? kExitDone : kExitFailed;
}

int FolderVerbs::gc() {
  const auto age = parse_duration(older_than_);
  if (!age) return tell(age.error(), is_json_);
  gc_options_.orphan_age = *age;
  gc_options_.shows_progress = !is_json_;
  if (checkpoints_kept_)
    gc_options_.retention = {*checkpoints_kept_, checkpoint_every_.value_or(0)};
  const auto report = gc_folder(folder_, gc_options_, SystemClock().now());
  if (!report) return tell(report.error(), is_json_);
  if (is_json_) {
    print(Json{{"isDryRun", gc_options_.is_dry_run},
               {"checkpointCount", report->checkpoint_count},
               {"blobCount", report->blob_count},
               {"blobBytes", report->blob_bytes},
               {"temporaryCount", report->temporary_count},
               {"temporaryBytes", report->temporary_bytes},
               {"uploadFileCount", report->upload_count},
               {"uploadBytes", report->upload_bytes},
               {"youngOrphanCount", report->young_count}});
    return kExitDone;
  }
  std::cout << (gc_options_.is_dry_run ? "Would delete " : "Deleted ") << report->blob_count
            << " blobs (" << format_byte_size(report->blob_bytes) << "), "
            << report->temporary_count << " half-made files ("
            << format_byte_size(report->temporary_bytes) << "), " << report->upload_count
            << " files of abandoned uploads (" << format_byte_size(report->upload_bytes) << ")";
  if (gc_options_.retention) std::cout << "; " << report->checkpoint_count << " checkpoints";
  std::cout << "\n";
  if (report->young_count > 0) {
    std::cout << "Left " << report->young_count << " blobs that nothing needs but that are younger "
              << "than " << older_than_ << " (--older-than)\n";
  }
  return kExitDone;
}

int FolderVerbs::migrate() {
  const ServerFolder folder{folder_};
  const auto lock = lock_server_folder(folder);
  if (!lock) return tell(lock.error(), is_json_);
  auto database = Database::open(folder.database(), Database::Mode::kReadWrite);
  if (!database) return tell(database.error(), is_json_);
  const auto done = server::migrate(*database, folder.database());
  if (!done) return tell(done.error(), is_json_);
  if (is_json_) {
    print(Json{{"from", done->from}, {"to", done->to}, {"copy", done->copy.string()}});
  } else if (done->from == done->to) {
    std::cout << folder_.string() << " has schema version " << done->to << " already\n";
  } else {
    std::cout << "Brought " << folder_.string() << " from schema version " << done->from << " to "
              << done->to << "; the old database is " << done->copy.string() << "\n";
  }
  return kExitDone;
}

}  // namespace mh::server
