// `manyhands verify`: checks the steps of a job without believing the server: its records
// (record_audit.h), the steps whose updates it keeps (step_audit.h), a sample of the gradients
// (gradient_audit.h). Needs a token of any role.
#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>

#include "client/cli/gradient_audit.h"
#include "client/cli/record_audit.h"
#include "client/cli/step_audit.h"
#include "client/cli/table.h"
#include "client/cli/verb.h"
#include "client/cli/verify_report.h"
#include "proto/base/bytes.h"
#include "proto/base/file.h"
#include "proto/base/options.h"
#include "proto/base/random.h"

namespace mh::cli {
namespace {

namespace v1 = manyhands::v1;
using SteadyClock = std::chrono::steady_clock;

constexpr std::size_t kFindingsMax = 50;
constexpr std::uint64_t kKeyFileBytesMax = 4'096;
// Before it nobody wonders what is going on.
constexpr std::chrono::seconds kPatience{2};
constexpr std::chrono::milliseconds kProgressPause{200};

struct VerifyArguments {
  std::string job;
  std::string steps;
  std::string recompute;
  std::string key;
  std::uint64_t seed = 0;
  GradientOptions gradients;
};

struct StepRange {
  std::uint64_t first = 0;
  std::uint64_t last = UINT64_MAX;
  bool contains(std::uint64_t step) const { return step >= first && step <= last; }
};

Result<std::uint64_t> number(const std::string& text) {
  std::uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc() && rest == end) return value;
  return fail(Errc::kInvalidArgument, "'" + text + "' is no whole number");
}

// "10..20", both included, or "7".
Result<StepRange> parse_steps(const std::string& text) {
  if (text.empty()) return StepRange{};
  const auto dots = text.find("..");
  StepRange range;
  MH_TRY(range.first, number(text.substr(0, dots)));
  range.last = range.first;
  if (dots != std::string::npos) {
    MH_TRY(range.last, number(text.substr(dots + 2)));
  }
  if (range.first > range.last)
    return fail(Errc::kInvalidArgument, "--steps " + text + ": give the lower step first");
  return range;
}

// "5%" or "5".
Result<double> parse_share(std::string text) {
  if (text.ends_with('%')) text.pop_back();
  double percent = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, percent);
  if (error != std::errc() || rest != end || !(percent > 0 && percent <= 100))
    return fail(Errc::kInvalidArgument, "--recompute takes a percentage above 0 up to 100, as 5%");
  return percent / 100;
}

Result<PublicKey> read_key(const std::string& text) {
  if (const auto key = parse_public_key(text)) return *key;
  const auto content = read_file(text, kKeyFileBytesMax);
  auto key = parse_public_key(content ? *content : text);
  if (!key) return fail(Errc::kInvalidArgument, "--key " + text + " " + key.error().message);
  return key;
}

// Says now and then how far it is, on a terminal.
class Progress {
 public:
  explicit Progress(Context& context) : context_(context), is_live_(Context::is_terminal(2)) {}
  ~Progress() { clear(); }
  void tell(const std::string& text) {
    const auto now = SteadyClock::now();
    if (!is_live_ || now - start_ < kPatience || now - last_ < kProgressPause) return;
    last_ = now;
    is_shown_ = true;
    context_.err() << "\r\033[K" << text << std::flush;
  }
  void clear() {
    if (is_shown_) context_.err() << "\r\033[K" << std::flush;
    is_shown_ = false;
  }

 private:
  Context& context_;
  const bool is_live_;
  const SteadyClock::time_point start_ = SteadyClock::now();
  SteadyClock::time_point last_{};
  bool is_shown_ = false;
};

class Verification {
 public:
  Verification(Context& context, std::uint64_t job, StepRange range, std::optional<PublicKey> key,
               GradientOptions gradients)
      : context_(context),
        job_(job),
        range_(range),
        records_(key),
        options_(std::move(gradients)),
        progress_(context) {
    report_.is_key_given = key.has_value();
  }

  Result<VerifyReport> run() {
    MH_TRY_VOID(check_records());
    if (report_.findings.empty() && rule_) MH_TRY_VOID(check_steps());
    progress_.clear();
    return std::move(report_);
  }

 private:
  Result<v1::ListStepRecordsResponse> page_from(std::uint64_t sequence, std::uint32_t count) {
    v1::ListStepRecordsRequest request;
    request.set_job_id(job_);
    request.set_from_sequence(sequence);
    request.set_count_max(count);
    return context_.call<v1::ListStepRecordsResponse>("JobService/ListStepRecords", request);
  }

  void add(AuditFinding found) {
    if (report_.findings.size() < kFindingsMax) report_.findings.push_back(std::move(found));
  }

  // The specification that the first record names. A record that cannot be read is told by take().
  Status read_rule(const v1::ListStepRecordsResponse& page) {
    if (page.records().empty()) return {};
    const auto first = parse_step_record(page.records(0).record());
    if (!first) return {};
    AuditFinding found;
    found.what = "job specification";
    found.digest = first->job_digest.hex();
    auto json = context_.fetch(first->job_digest, update::kJobRuleBytesMax);
    if (json) {
      auto rule = update::read_job_rule(*json);
      if (rule) return take_rule(*std::move(rule), *std::move(json), std::move(found));
      found.problem = rule.error().message;
    } else if (is_ours(json.error())) {
      return json.error();
    } else {
      found.problem = json.error().message;
    }
    add(std::move(found));
    return {};
  }

  // How many steps the job has may depend on its data set.
  Status take_rule(update::JobRule rule, std::string json, AuditFinding found) {
    report_.job_name = rule.name;
    report_.job_digest = found.digest;
    found.what = "manifest of the data set";
    found.digest = rule.manifest.hex();
    auto text = context_.fetch(rule.manifest, kManifestBytesMax);
    if (!text && is_ours(text.error())) return text.error();
    auto manifest = text ? parse_manifest(*text) : Result<DatasetManifest>(text.error());
    if (!manifest) {
      found.problem = manifest.error().message;
      add(std::move(found));
      return {};
    }
    rule.step.step_count = model::step_count(rule.training, manifest->find_split("train")->count);
    records_.set_rule(rule);
    audited_ = AuditedJob{std::move(json), *std::move(manifest), *std::move(text)};
    rule_ = std::move(rule);
    return {};
  }

  // Not the server's fault: the network, the token, our disk.
  static bool is_ours(const Error& error) {
    return error.code != Errc::kNotFound && error.code != Errc::kDataLoss &&
           error.code != Errc::kInvalidArgument;
  }

  Status check_records() {
    while (!records_.is_complete()) {
      MH_TRY(const auto page, page_from(records_.next(), 0));
      if (page.record_count() == 0 && records_.next() == 0)
        return fail(Errc::kNotFound, "job " + std::to_string(job_) + " has no step records yet");
      if (records_.next() == 0) MH_TRY_VOID(read_rule(page));
      if (auto found = records_.take(page)) {
        add(*std::move(found));
        break;
      }
      progress_.tell("records: " + with_commas(records_.next()) + " of " +
                     with_commas(page.record_count()));
    }
    const RecordChain& chain = records_.chain();
    report_.record_count = chain.count();
    report_.first_step = chain.first_step();
    report_.steps_done = chain.steps_done();
    report_.rewinds = records_.rewind_count();
    if (chain.count() > 0) report_.head = chain.head().hex();
    if (records_.key()) report_.key = to_hex(*records_.key());
    return {};
  }

  // A record once more; the same one as before.
  Result<std::optional<StepRecord>> read_again(const KeptRecord& kept) {
    MH_TRY(const auto page, page_from(kept.sequence, 1));
    if (page.records_size() == 1 && sha256(page.records(0).record()) == kept.digest) {
      MH_TRY(StepRecord record, parse_step_record(page.records(0).record()));
      return std::optional(std::move(record));
    }
    AuditFinding found;
    found.step = kept.step;
    found.what = "record";
    found.digest = kept.digest.hex();
    found.problem = "asked a second time, the server gives another record";
    add(std::move(found));
    return std::optional<StepRecord>();
  }

  Status check_steps() {
    MH_TRY(const TemporaryFolder folder, TemporaryFolder::make());
    GradientAudit gradients(context_, audited_, options_, folder.path());
    StepAudit steps(context_, job_, *rule_, folder.path(), [&](const CheckedUpdate& update) {
      if (options_.share <= 0) return Status();
      return gradients.keep(update, report_.findings);
    });
    std::uint64_t wanted = 0;
    for (const KeptRecord& kept : records_.kept()) {
      if (!range_.contains(kept.step)) continue;
      MH_TRY(const auto record, read_again(kept));
      if (!record) continue;
      ++wanted;
      progress_.tell("step " + with_commas(kept.step) + " of " + with_commas(report_.steps_done));
      MH_TRY(const StepAudit::Outcome outcome, steps.check(*record, report_.findings));
      if (outcome == StepAudit::Outcome::kRight) ++report_.again;
      if (outcome == StepAudit::Outcome::kGone) --wanted;
      if (report_.findings.size() >= kFindingsMax) break;
    }
    MH_TRY_VOID(gradients.flush(report_.findings));
    report_.gradients = gradients.counts();
    report_.updates = steps.update_count();
    const std::uint64_t last = std::min(range_.last, report_.steps_done - 1);
    const std::uint64_t first = std::max(range_.first, report_.first_step);
    const std::uint64_t in_range = first <= last ? last - first + 1 : 0;
    report_.chain_only = in_range > wanted ? in_range - wanted : 0;
    report_.left_out = report_.steps_done - report_.first_step - in_range;
    return {};
  }

  Context& context_;
  const std::uint64_t job_;
  const StepRange range_;
  RecordAudit records_;
  const GradientOptions options_;
  Progress progress_;
  std::optional<update::JobRule> rule_;
  AuditedJob audited_;
  VerifyReport report_;
};

Result<int> run_verify(Context& context, VerifyArguments arguments) {
  MH_TRY(const StepRange range, parse_steps(arguments.steps));
  if (!arguments.recompute.empty()) {
    MH_TRY(arguments.gradients.share, parse_share(arguments.recompute));
  }
  if (!(arguments.gradients.tolerance >= 0))
    return fail(Errc::kInvalidArgument, "--tolerance is not below 0");
  if (arguments.seed == 0) {
    // 32 bits: easy to type again.
    arguments.seed = 1 + load_le<std::uint32_t>(secure_random_bytes(4).data());
  }
  arguments.gradients.seed = arguments.seed;
  std::optional<PublicKey> key;
  if (!arguments.key.empty()) {
    MH_TRY(key, read_key(arguments.key));
  }
  MH_TRY(const std::uint64_t job, find_job(context, arguments.job));
  Verification verification(context, job, range, key, arguments.gradients);
  MH_TRY(VerifyReport report, verification.run());
  report.has_gradients = !arguments.recompute.empty();
  report.seed = arguments.seed;
  report.tolerance = arguments.gradients.tolerance;
  context.out() << (context.wants_json() ? report_json(report) : report_text(report));
  return report.findings.empty() ? kExitDone : kExitFailed;
}

VerbRun define_verify(OptionSink& options) {
  const auto arguments = std::make_shared<VerifyArguments>();
  options.positional("job", arguments->job, "Id or name of the job (a name needs a researcher)");
  options.text("--steps", arguments->steps,
               "Take only these steps again, as 10..20 (both included); records are always all "
               "checked");
  options.text("--recompute", arguments->recompute,
               "Also compute this share of the kept updates again, as 5%");
  options.text("--key", arguments->key,
               "The server's public key: 64 hex digits, or a file with them or in PEM");
  options.number("--seed", arguments->seed, 0, UINT64_MAX,
                 "What chooses the sample of --recompute; 0: a random one, which is told");
  options.real("--tolerance", arguments->gradients.tolerance,
               "Largest relative distance of a gradient that is not equal in every bit");
  options.text("--data", arguments->gradients.data,
               "Folder of the data set for --recompute; default: it is downloaded");
  options.text("--trainer", arguments->gradients.trainer,
               "The trainer program [MANYHANDS_TRAINER, else manyhands-trainer beside this one]");
  return [arguments](Context& context) { return run_verify(context, *arguments); };
}

}  // namespace

std::vector<Verb> verify_verbs() {
  return {{"", "verify", "Check the steps of a job, bit for bit, without believing the server",
           "manyhands verify 1 --steps 10..20 --recompute 5% --key server.pub", define_verify}};
}

}  // namespace mh::cli
