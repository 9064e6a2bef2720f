// See work_records.h.
#include "client/daemon/work_records.h"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "proto/base/bytes.h"
#include "proto/base/file.h"
#include "proto/base/kill_point.h"

namespace mh::client {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr std::uint64_t kRecordBytesMax = 64 * 1024;
// Beyond it (the year 5138) it is no time; keeps sums of times far from overflow.
constexpr std::uint64_t kFinishedMsMax = 100'000'000'000'000;

KillPoint before_write("record.before_write");
KillPoint before_rename("record.before_rename");
KillPoint after_rename("record.after_rename");
KillPoint before_drop("record.before_drop");
KillPoint half_dropped("record.half_dropped");
KillPoint after_drop("record.after_drop");

}  // namespace

Status WorkRecords::keep(const Report& report) {
  const Json record = {{"host", host_.value()},
                       {"result", report.result.value()},
                       {"update_digest", report.update_digest.hex()},
                       {"update_bytes", report.update_bytes},
                       {"loss_sum", report.loss_sum},
                       {"correct_count", report.correct_count},
                       {"compute_ms", report.compute_ms},
                       {"finished_ms", to_unix_ms(report.finished)}};
  const fs::path path = record_path(report.result);
  const fs::path part = path.string() + ".part";
  UniqueFd file(::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file.is_open()) return errno_error("cannot create", part, errno);
  const std::string text = record.dump();
  before_write.pass();
  MH_TRY_VOID(write_all(file.get(), as_bytes(text), part));
  before_rename.pass();
  if (::rename(part.c_str(), path.c_str()) != 0) return errno_error("cannot rename", part, errno);
  after_rename.pass();
  return {};
}

void WorkRecords::drop(ResultId result) {
  before_drop.pass();
  ::unlink(record_path(result).c_str());
  half_dropped.pass();
  ::unlink(update_path(result).c_str());
  after_drop.pass();
}

Result<Report> WorkRecords::read(const fs::path& path) const {
  MH_TRY(const std::string text, read_file(path, kRecordBytesMax));
  const Json record = Json::parse(text, nullptr, false);
  const auto number = [&record](const char* key) -> std::uint64_t {
    const auto found = record.find(key);
    return found != record.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
  };
  if (!record.is_object() || number("host") != host_.value() || number("result") == 0 ||
      !record.contains("loss_sum") || !record.contains("update_digest") ||
      !record["update_digest"].is_string())
    return fail(Errc::kInvalidArgument, path.string() + " is no record of this host");
  Report report;
  report.result = ResultId(number("result"));
  report.outcome = Outcome::kSuccess;
  MH_TRY(report.update_digest, Digest::from_hex(record["update_digest"].get<std::string>()));
  report.update_bytes = number("update_bytes");
  // A loss that is not finite was written as null; the server judges it.
  report.loss_sum = record["loss_sum"].is_number() ? record["loss_sum"].get<double>()
                                                   : std::numeric_limits<double>::quiet_NaN();
  report.correct_count = number("correct_count");
  report.compute_ms = number("compute_ms");
  report.finished = from_unix_ms(
      static_cast<std::int64_t>(std::min<std::uint64_t>(number("finished_ms"), kFinishedMsMax)));
  std::error_code error;
  if (report.update_bytes > 0 &&
      fs::file_size(update_path(report.result), error) != report.update_bytes)
    return fail(Errc::kDataLoss,
                "the update of result " + to_string(report.result) + " is not whole");
  return report;
}

std::vector<Report> WorkRecords::recover() {
  std::vector<Report> reports;
  std::set<fs::path> kept;
  std::vector<fs::path> found;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, error))
    found.push_back(entry.path());
  for (const fs::path& path : found) {
    if (path.extension() != ".json") continue;
    auto report = read(path);
    if (!report.has_value() || path != record_path(report->result)) continue;
    kept.insert(path);
    kept.insert(update_path(report->result));
    reports.push_back(*std::move(report));
  }
  for (const fs::path& path : found) {
    if (!kept.contains(path)) fs::remove(path, error);
  }
  return reports;
}

}  // namespace mh::client
