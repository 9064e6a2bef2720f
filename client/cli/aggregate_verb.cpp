// `manyhands aggregate`: the aggregation of updates on files, without a server.
//
// Flow: safetensors files, memory-mapped -> robust::aggregate -> one safetensors file that appears
// whole or not at all.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "client/cli/table.h"
#include "client/cli/verb.h"
#include "proto/base/file.h"
#include "proto/base/options.h"
#include "trainer/robust/aggregate.h"
#include "trainer/update/safetensors.h"

namespace mh::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct AggregateArguments {
  std::vector<std::string> inputs;
  std::string output;
  std::string rule;
  std::vector<std::string> pre;
  std::string convention = "byzfl";
  std::string bucket_order = "shuffled";
  std::uint64_t iterations = 0;
  std::uint64_t q = 0;
  std::uint64_t threads = 0;
  bool is_forced = false;
  bool lists_rules = false;
  robust::Recipe recipe;
};

int list_rules(Context& context) {
  if (context.wants_json()) {
    Json rules = Json::array();
    for (const robust::RuleInfo& info : robust::rule_table()) {
      rules.push_back({{"name", info.name},
                       {"kind", info.is_pre ? "pre" : "rule"},
                       {"definition", info.definition},
                       {"cost", info.cost},
                       {"condition", info.condition},
                       {"source", info.source},
                       {"options", info.options}});
    }
    context.out() << Json({{"rules", std::move(rules)}}).dump(2) << "\n";
    return kExitDone;
  }
  bool was_pre = true;
  for (const robust::RuleInfo& info : robust::rule_table()) {
    if (info.is_pre != was_pre)
      context.out() << (info.is_pre ? "\nPre-aggregations, with --pre:\n"
                                    : "Rules, with --rule:\n");
    was_pre = info.is_pre;
    context.out() << "\n  " << info.name << "\n    definition  " << info.definition
                  << "\n    cost        " << info.cost << "\n    condition   " << info.condition
                  << "\n    source      " << info.source << "\n";
    if (!info.options.empty()) context.out() << "    options     " << info.options << "\n";
  }
  return kExitDone;
}

Status finish_recipe(AggregateArguments& arguments) {
  robust::Recipe& recipe = arguments.recipe;
  if (arguments.rule.empty())
    return fail(Errc::kInvalidArgument, "give --rule; --list-rules shows all");
  MH_TRY(recipe.rule, robust::rule_named(arguments.rule));
  for (const std::string& name : arguments.pre) {
    MH_TRY(const robust::Pre pre, robust::pre_named(name));
    recipe.pre.push_back(pre);
  }
  if (arguments.convention != "byzfl" && arguments.convention != "paper")
    return fail(Errc::kInvalidArgument, "--convention is byzfl or paper");
  if (arguments.convention == "paper") recipe.convention = robust::Convention::kPaper;
  if (arguments.bucket_order != "shuffled" && arguments.bucket_order != "given")
    return fail(Errc::kInvalidArgument, "--bucket-order is shuffled or given");
  recipe.bucket_order_is_given = arguments.bucket_order == "given";
  if (arguments.iterations > 0) recipe.iterations = arguments.iterations;
  if (arguments.q > 0) recipe.q = arguments.q;
  if (arguments.output.empty()) return fail(Errc::kInvalidArgument, "give --out");
  return robust::check_recipe(recipe, arguments.inputs.size());
}

Status check_target(const fs::path& output, bool is_forced) {
  std::error_code error;
  if (fs::is_directory(output, error))
    return fail(Errc::kInvalidArgument, output.string() + " is a folder: give a file with --out");
  if (fs::exists(output, error) && !is_forced)
    return fail(Errc::kInvalidArgument,
                output.string() + " is there already: give another --out, or --force");
  const fs::path folder = fs::absolute(output, error).parent_path();
  if (!fs::is_directory(folder, error))
    return fail(Errc::kInvalidArgument, "the folder " + folder.string() + " does not exist");
  return {};
}

// An input file: its map, its tensors, and its values in the order of the first file's tensors.
struct Source {
  MappedFile file;
  update::SafetensorsView view;
  Digest digest;
  /// Only of files whose tensors lie in another order than the first file's.
  std::vector<std::byte> reordered;
  std::span<const std::byte> values;
};

Result<Source> open_source(const std::string& path) {
  Source source;
  MH_TRY(source.file, MappedFile::open(path));
  auto view = update::view_safetensors(source.file.bytes());
  if (!view.has_value()) return fail(view.error().code, path + ": " + view.error().message);
  source.view = std::move(*view);
  source.digest = sha256(source.file.bytes());
  source.values = source.view.values;
  return source;
}

// Gives `source` the order of tensors of `first`. Errors: kInvalidArgument, naming what differs.
Status match_layout(const std::string& path, Source& source, const std::string& first_path,
                    const Source& first) {
  const auto differs = [&](const std::string& what) {
    return fail(Errc::kInvalidArgument, path + ": " + what + " " + first_path);
  };
  std::map<std::string, const model::ParameterSpec*> by_name;
  for (const model::ParameterSpec& tensor : source.view.parameters) by_name[tensor.name] = &tensor;
  bool is_same_order = true;
  for (const model::ParameterSpec& tensor : first.view.parameters) {
    const auto found = by_name.find(tensor.name);
    if (found == by_name.end()) return differs("no tensor " + tensor.name + ", which is in");
    if (found->second->shape != tensor.shape)
      return differs("tensor " + tensor.name + " is " + shape_text(found->second->shape) +
                     ", not " + shape_text(tensor.shape) + " as in");
    is_same_order = is_same_order && found->second->offset == tensor.offset;
    by_name.erase(found);
  }
  if (!by_name.empty()) return differs("tensor " + by_name.begin()->first + " is not in");
  if (is_same_order) return {};
  for (const model::ParameterSpec& tensor : source.view.parameters) by_name[tensor.name] = &tensor;
  source.reordered.resize(source.values.size());
  for (const model::ParameterSpec& tensor : first.view.parameters) {
    const auto from = source.values.subspan(by_name[tensor.name]->offset * 4, tensor.count * 4);
    std::copy(from.begin(), from.end(),
              source.reordered.begin() + static_cast<std::ptrdiff_t>(tensor.offset * 4));
  }
  source.values = source.reordered;
  return {};
}

Result<std::vector<Source>> open_sources(const std::vector<std::string>& paths) {
  std::vector<Source> sources;
  for (const std::string& path : paths) {
    MH_TRY(Source source, open_source(path));
    if (!sources.empty()) MH_TRY_VOID(match_layout(path, source, paths.front(), sources.front()));
    sources.push_back(std::move(source));
  }
  return sources;
}

// As write_file_atomically, for a head and a body that need not be one string.
Status publish(const fs::path& path, std::string_view head, std::span<const std::byte> body) {
  fs::path temporary = path;
  temporary += ".tmp" + std::to_string(::getpid());
  UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.is_open()) return errno_error("cannot create", temporary, errno);
  Status done = write_all(fd.get(), std::as_bytes(std::span(head)), temporary);
  if (done) done = write_all(fd.get(), body, temporary);
  if (done && ::fsync(fd.get()) != 0) done = errno_error("cannot fsync", temporary, errno);
  fd.reset();
  if (done) done = publish_file(temporary, path);
  if (!done) ::unlink(temporary.c_str());
  return done;
}

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += (all.empty() ? "" : ",") + text;
  return all;
}

// The recipe in the output's metadata: what somebody needs to do it again.
update::TextByKey metadata_of(const AggregateArguments& arguments,
                              const std::vector<Source>& sources) {
  const robust::Recipe& recipe = arguments.recipe;
  std::vector<std::string> digests;
  for (const Source& source : sources) digests.push_back(source.digest.hex());
  Json options = {{"convention", arguments.convention},
                  {"nu", recipe.nu},
                  {"tau", recipe.tau},
                  {"clip_norm", recipe.clip_norm},
                  {"bucket_size", recipe.bucket_size},
                  {"bucket_seed", recipe.bucket_seed},
                  {"bucket_order", arguments.bucket_order}};
  if (recipe.iterations) options["iterations"] = *recipe.iterations;
  if (recipe.q) options["q"] = *recipe.q;
  return {{"rule", arguments.rule},
          {"f", std::to_string(recipe.f)},
          {"pre", joined(arguments.pre)},
          {"options", options.dump()},
          {"inputs_sha256", joined(digests)}};
}

void report(Context& context, const AggregateArguments& arguments,
            const std::vector<Source>& sources, const robust::Outcome& outcome,
            const Digest& digest) {
  const auto bytes = sources.front().values.size();
  if (!context.wants_json()) {
    context.out() << arguments.rule << " of " << sources.size()
                  << " inputs, f = " << arguments.recipe.f
                  << (arguments.pre.empty() ? "" : ", after " + joined(arguments.pre)) << ": "
                  << with_commas(sources.front().view.parameters.size()) << " tensors, "
                  << bytes_text(static_cast<double>(bytes)) << " in " << arguments.output << ".\n";
    return;
  }
  Json inputs = Json::array();
  for (std::size_t i = 0; i < sources.size(); ++i) {
    inputs.push_back({{"path", arguments.inputs[i]}, {"sha256", sources[i].digest.hex()}});
    if (!outcome.weights.empty()) inputs.back()["weight"] = outcome.weights[i];
  }
  context.out() << Json({{"rule", arguments.rule},
                         {"f", arguments.recipe.f},
                         {"pre", arguments.pre},
                         {"output", arguments.output},
                         {"values_sha256", digest.hex()},
                         {"elements", bytes / 4},
                         {"passes", outcome.passes},
                         {"inputs", std::move(inputs)}})
                       .dump(2)
                << "\n";
}

Result<int> run_aggregate(Context& context, AggregateArguments arguments) {
  if (arguments.lists_rules) return list_rules(context);
  MH_TRY_VOID(finish_recipe(arguments));
  MH_TRY_VOID(check_target(arguments.output, arguments.is_forced));
  MH_TRY(const std::vector<Source> sources, open_sources(arguments.inputs));
  std::vector<robust::Input> inputs;
  for (std::size_t i = 0; i < sources.size(); ++i)
    inputs.push_back({.name = arguments.inputs[i], .values = sources[i].values});
  const auto& layout = sources.front().view.parameters;
  std::vector<float> out(sources.front().values.size() / sizeof(float));
  robust::PassOptions options;
  options.threads = arguments.threads > 0 ? static_cast<unsigned>(arguments.threads)
                                          : std::max(1U, std::thread::hardware_concurrency());
  MH_TRY(const robust::Outcome outcome,
         robust::aggregate(arguments.recipe, inputs, layout, out, options));
  const std::string head = update::safetensors_head(layout, metadata_of(arguments, sources));
  const auto body = std::as_bytes(std::span(out));
  MH_TRY_VOID(publish(arguments.output, head, body));
  report(context, arguments, sources, outcome, sha256(body));
  return kExitDone;
}

VerbRun define_aggregate(OptionSink& options) {
  const auto arguments = std::make_shared<AggregateArguments>();
  robust::Recipe& recipe = arguments->recipe;
  constexpr std::uint64_t kMany = robust::kInputsMax;
  options.positionals("inputs", arguments->inputs, "The safetensors files, all with like tensors");
  options.flag("--list-rules", arguments->lists_rules,
               "Show each rule's definition, cost, condition and source, and do nothing");
  options.text("--rule", arguments->rule, "How to aggregate");
  options.number("--f", recipe.f, 0, kMany, "Most inputs that may be bad");
  options.texts("--pre", arguments->pre, "Before the rule, in the order given; may be repeated");
  options.text("--out", arguments->output, "The safetensors file to write");
  options.flag("--force", arguments->is_forced, "Overwrite the file");
  options.text("--convention", arguments->convention,
               "byzfl or paper: which Krum and Multi-Krum (docs/aggregation.md)");
  options.real("--nu", recipe.nu, "geometric_median: least distance");
  options.number("--iterations", arguments->iterations, 0, robust::kIterationsMax,
                 "geometric_median (3) and centered_clipping (1): iterations; 0: those");
  options.real("--tau", recipe.tau, "centered_clipping: longest difference counted in full");
  options.number("--q", arguments->q, 0, kMany, "multi_krum: inputs averaged; 0: n - f");
  options.real("--clip-norm", recipe.clip_norm, "clipping: longest norm");
  options.number("--bucket-size", recipe.bucket_size, 1, kMany, "bucketing: inputs a bucket");
  options.number("--bucket-seed", recipe.bucket_seed, 0, UINT64_MAX,
                 "bucketing: seed of the permutation");
  options.text("--bucket-order", arguments->bucket_order,
               "bucketing: shuffled, or given: neighbours on the command line");
  options.number("--threads", arguments->threads, 0, 1'024,
                 "Threads, which change no bit; 0: one a processor");
  return [arguments](Context& context) { return run_aggregate(context, *arguments); };
}

}  // namespace

std::vector<Verb> aggregate_verbs() {
  return {{"", "aggregate", "Aggregate updates in files with a robust rule; needs no server",
           "manyhands aggregate --rule trimmed_mean --f 2 --pre nnm --out mean.safetensors "
           "update-*.safetensors",
           define_aggregate}};
}

}  // namespace mh::cli
