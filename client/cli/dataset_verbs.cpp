// `manyhands dataset list|show|remove`; import is in dataset_import.cpp.
#include "client/cli/dataset_import.h"
#include "client/cli/table.h"
#include "client/cli/verb.h"
#include "manyhands/v1/dataset.pb.h"
#include "proto/base/options.h"

namespace mh::cli {
namespace {

namespace v1 = manyhands::v1;

std::string sample_text(const v1::Dataset& dataset) {
  return dataset.input_dtype() + " " + shape_text(dataset.input_shape());
}

std::string target_text(const v1::Dataset& dataset) {
  if (dataset.class_count() > 0) return std::to_string(dataset.class_count()) + " classes";
  return dataset.target_dtype() + " " + shape_text(dataset.target_shape());
}

std::string count_text(const v1::Dataset& dataset, const char* split_name) {
  for (const v1::DatasetSplit& split : dataset.splits()) {
    if (split.name() == split_name) return with_commas(split.sample_count());
  }
  return "—";
}

Result<int> run_list(Context& context) {
  MH_TRY(const auto reply, context.call<v1::ListDatasetsResponse>("DatasetService/ListDatasets",
                                                                  v1::ListDatasetsRequest()));
  if (context.wants_json()) {
    context.print_json(reply);
    return kExitDone;
  }
  Table table({{"NAME"},
               {"INPUT"},
               {"TARGET"},
               {"TRAIN", Table::Align::kRight},
               {"VAL", Table::Align::kRight},
               {"TEST", Table::Align::kRight},
               {"SIZE", Table::Align::kRight},
               {"IMPORTED (UTC)"}});
  for (const v1::Dataset& dataset : reply.datasets())
    table.add_row({dataset.name(), sample_text(dataset), target_text(dataset),
                   count_text(dataset, "train"), count_text(dataset, "val"),
                   count_text(dataset, "test"), bytes_text(static_cast<double>(dataset.bytes())),
                   time_text(dataset.created_ms())});
  context.out() << (table.is_empty() ? "No data sets; 'manyhands dataset import' brings one.\n"
                                     : table.text());
  return kExitDone;
}

Result<int> run_show(Context& context, const std::string& name) {
  v1::GetDatasetRequest request;
  request.set_name(name);
  MH_TRY(const auto reply,
         context.call<v1::GetDatasetResponse>("DatasetService/GetDataset", request));
  if (context.wants_json())
    context.print_json(reply);
  else
    context.out() << dataset_text(reply.dataset());
  return kExitDone;
}

Result<int> run_remove(Context& context, const std::string& name) {
  v1::RemoveDatasetRequest request;
  request.set_name(name);
  MH_TRY(const auto reply,
         context.call<v1::RemoveDatasetResponse>("DatasetService/RemoveDataset", request));
  if (context.wants_json())
    context.print_json(reply);
  else
    context.out() << "Data set '" << printable(name) << "' is removed.\n";
  return kExitDone;
}

using Named = Result<int> (*)(Context&, const std::string&);

std::function<VerbRun(OptionSink&)> with_name(Named run) {
  return [run](OptionSink& options) -> VerbRun {
    const auto name = std::make_shared<std::string>();
    options.positional("name", *name, "The data set");
    return [run, name](Context& context) { return run(context, *name); };
  };
}

}  // namespace

std::string dataset_text(const v1::Dataset& dataset) {
  std::string text;
  const auto line = [&text](std::string label, const std::string& value) {
    label.resize(12, ' ');
    text += label + printable(value) + "\n";
  };
  line("name", dataset.name());
  line("input", sample_text(dataset));
  line("target", target_text(dataset));
  line("size", bytes_text(static_cast<double>(dataset.bytes())));
  line("manifest", dataset.manifest_digest());
  if (dataset.created_ms() > 0) line("imported", time_text(dataset.created_ms()) + " UTC");
  text += "\n";
  std::vector<Table::Column> columns = {{"CLASS"}};
  for (const v1::DatasetSplit& split : dataset.splits()) {
    std::string title = split.name();
    for (char& c : title) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    columns.push_back({title, Table::Align::kRight});
  }
  Table table(columns);
  constexpr std::uint32_t kClassRowsMax = 100;
  const std::uint32_t row_count = std::min(dataset.class_count(), kClassRowsMax);
  for (std::uint32_t i = 0; i < row_count; ++i) {
    const int index = static_cast<int>(i);
    std::string label = std::to_string(i);
    if (index < dataset.class_names_size()) label += " " + dataset.class_names(index);
    std::vector<std::string> cells = {label};
    for (const v1::DatasetSplit& split : dataset.splits())
      cells.push_back(index < split.class_counts_size() ? with_commas(split.class_counts(index))
                                                        : "—");
    table.add_row(cells);
  }
  if (dataset.class_count() > kClassRowsMax)
    table.add_row(std::vector<std::string>(columns.size(), "…"));
  std::vector<std::string> totals = {"all samples"};
  for (const v1::DatasetSplit& split : dataset.splits())
    totals.push_back(with_commas(split.sample_count()));
  table.add_row(totals);
  return text + table.text();
}

std::vector<Verb> dataset_verbs() {
  std::vector<Verb> verbs = {dataset_import_verb()};
  verbs.push_back({"dataset", "list", "Show all data sets", "manyhands dataset list",
                   [](OptionSink&) -> VerbRun { return run_list; }});
  verbs.push_back({"dataset", "show", "Show a data set, with its samples per class",
                   "manyhands dataset show digits", with_name(run_show)});
  verbs.push_back({"dataset", "remove", "Remove a data set that no unfinished job uses",
                   "manyhands dataset remove digits", with_name(run_remove)});
  return verbs;
}

}  // namespace mh::cli
