// See scenario.h. Everything here follows the table (scenario_table.h).
#include "tests/sim/scenario.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <exception>

#include "tests/sim/random.h"
#include "tests/sim/scenario_table.h"

namespace mh::sim {
namespace {

constexpr std::array<std::string_view, 13> kFaultNames = {
    "none",      "churn", "wrong", "hostile", "loss",    "delay", "duplicate",
    "partition", "crash", "disk",  "clock",   "trainer", "admin"};

// A range over more than this factor is drawn in the logarithm.
constexpr double kLogFactor = 20;
// Share of seeds in which a kind of fault happens.
constexpr double kFaultChance = 0.5;

Error refuse(const YAML::Mark& mark, const std::string& text) {
  return fail(Errc::kInvalidArgument, "line " + std::to_string(mark.line + 1) + ": " + text);
}

std::string number_text(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.10g", value);
  return text;
}

std::string limits_text(const Range& limits) {
  return number_text(limits.low) + " to " + number_text(limits.high);
}

std::string names_of(std::string_view group) {
  std::string text;
  for (const Knob& knob : all_knobs()) {
    if (!group.empty() && knob.group != group) continue;
    const std::string name(group.empty() ? knob.group : knob.name);
    if (group.empty() && text.find(name) != std::string::npos) continue;
    text += (text.empty() ? "" : ", ") + name;
  }
  return text;
}

Result<double> read_number(const YAML::Node& value) {
  double number = 0;
  if (value.IsScalar() && YAML::convert<double>::decode(value, number) && std::isfinite(number)) {
    return number;
  }
  return refuse(value.Mark(), "must be a number or [low, high]");
}

Result<Range> read_range(const YAML::Node& value) {
  if (!value.IsSequence()) {
    MH_TRY(const double number, read_number(value));
    return Range{number, number};
  }
  if (value.size() != 2) return refuse(value.Mark(), "a range is [low, high]");
  MH_TRY(const double low, read_number(value[0]));
  MH_TRY(const double high, read_number(value[1]));
  return Range{low, high};
}

Status read_group(const std::string& group, const YAML::Node& values, ScenarioFile& file) {
  if (!values.IsMap()) return refuse(values.Mark(), group + ": must be a group of numbers");
  for (const auto& entry : values) {
    const std::string name = group + "." + entry.first.Scalar();
    const Result<Range> range = read_range(entry.second);
    if (!range) return fail(Errc::kInvalidArgument, range.error().message + " (" + name + ")");
    const Status set = file.set(name, *range);
    if (!set) return refuse(entry.first.Mark(), set.error().message);
  }
  return {};
}

Result<ScenarioFile> read_document(const YAML::Node& root) {
  if (root.IsNull()) return ScenarioFile::mix();
  if (!root.IsMap()) return refuse(root.Mark(), "a scenario is a map of groups");
  ScenarioFile file = ScenarioFile::mix();
  if (const YAML::Node base = root["base"]) {
    const std::string name = base.IsScalar() ? base.Scalar() : "";
    if (name != "mix" && name != "population") {
      return refuse(base.Mark(), "base: must be mix or population");
    }
    if (name == "population") file = ScenarioFile::population();
  }
  for (const auto& entry : root) {
    const std::string group = entry.first.IsScalar() ? entry.first.Scalar() : "";
    if (group == "base") continue;
    const bool is_known = std::any_of(all_knobs().begin(), all_knobs().end(),
                                      [&](const Knob& knob) { return knob.group == group; });
    if (!is_known) {
      return refuse(entry.first.Mark(), "'" + group + "' is no group: base, " + names_of(""));
    }
    MH_TRY_VOID(read_group(group, entry.second, file));
  }
  return file;
}

double draw_number(Random& random, const Range& range) {
  const bool is_wide = range.low > 0 && range.high / range.low > kLogFactor;
  // Always one draw, so that a changed range moves no other number.
  return is_wide ? random.log_between(range.low, range.high)
                 : random.between(range.low, range.high);
}

}  // namespace

std::string_view fault_name(FaultKind kind) { return kFaultNames[static_cast<std::size_t>(kind)]; }

std::optional<FaultKind> fault_from_name(std::string_view name) {
  for (const FaultKind kind : all_faults()) {
    if (fault_name(kind) == name) return kind;
  }
  return std::nullopt;
}

std::vector<FaultKind> all_faults() {
  std::vector<FaultKind> kinds;
  for (std::size_t kind = 1; kind < kFaultNames.size(); ++kind) {
    kinds.push_back(static_cast<FaultKind>(kind));
  }
  return kinds;
}

ScenarioFile::ScenarioFile(bool is_mix) : is_mix_(is_mix) {
  for (const Knob& knob : all_knobs()) {
    ranges_.push_back(is_mix ? knob.mix : Range{knob.population, knob.population});
  }
}

ScenarioFile ScenarioFile::mix() { return ScenarioFile(true); }
ScenarioFile ScenarioFile::population() { return ScenarioFile(false); }

Result<ScenarioFile> ScenarioFile::read(std::string_view yaml) {
  try {
    return read_document(YAML::Load(std::string(yaml)));
  } catch (const std::exception& error) {
    return fail(Errc::kInvalidArgument, error.what());
  }
}

Status ScenarioFile::set(std::string_view name, Range range) {
  const std::size_t dot = name.find('.');
  const std::string_view group = name.substr(0, dot);
  const std::string_view key = dot == std::string_view::npos ? "" : name.substr(dot + 1);
  for (std::size_t i = 0; i < ranges_.size(); ++i) {
    const Knob& knob = all_knobs()[i];
    if (knob.group != group || knob.name != key) continue;
    if (range.low > range.high || range.low < knob.limits.low || range.high > knob.limits.high) {
      return fail(Errc::kInvalidArgument, std::string(name) + ": " + number_text(range.low) +
                                              " to " + number_text(range.high) +
                                              ", allowed: " + limits_text(knob.limits));
    }
    ranges_[i] = range;
    return {};
  }
  const std::string known = names_of(group);
  return fail(Errc::kInvalidArgument, "'" + std::string(name) + "' is not known; " +
                                          (known.empty() ? "groups: " + names_of("")
                                                         : std::string(group) + " has " + known));
}

Scenario ScenarioFile::draw(std::uint64_t seed, const std::set<FaultKind>& without) const {
  std::set<FaultKind> off = without;
  Random kinds(seed, Purpose::kScenario, 0);
  for (const FaultKind kind : all_faults()) {
    if (!kinds.chance(kFaultChance) && is_mix_) off.insert(kind);
  }
  Random random(seed, Purpose::kScenario, 1);
  Scenario scenario;
  for (std::size_t i = 0; i < ranges_.size(); ++i) {
    const double drawn = draw_number(random, ranges_[i]);
    const bool is_off =
        all_knobs()[i].kind != FaultKind::kNone && off.contains(all_knobs()[i].kind);
    scenario.*(all_knobs()[i].member) = is_off ? 0 : drawn;
  }
  return scenario;
}

std::string scenario_help() {
  std::string text;
  for (const Knob& knob : all_knobs()) {
    char line[240];
    const std::string name = std::string(knob.group) + "." + std::string(knob.name);
    const std::string mix =
        "[" + number_text(knob.mix.low) + ", " + number_text(knob.mix.high) + "]";
    std::snprintf(line, sizeof line, "%-30s %-16s %-10s %s\n", name.c_str(), mix.c_str(),
                  number_text(knob.population).c_str(), std::string(knob.help).c_str());
    text += line;
  }
  return text;
}

}  // namespace mh::sim
