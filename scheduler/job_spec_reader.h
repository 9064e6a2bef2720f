// Typed access to the tree of a job file: the second stage of parse_job(). Private to
// scheduler/job_spec*.
//
// A Section is one group of keys. Whoever reads it asks for each key it knows; finish() then
// reports all others, with the nearest known one. Problems are collected, never thrown, and reading
// goes on with defaults. Pure; no threads.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "scheduler/job_spec.h"
#include "scheduler/job_spec_yaml.h"
#include "trainer/model/layer_kind.h"

namespace mh::scheduler {

/// What is collected while a file is read.
struct ReadingState {
  std::vector<Problem> problems;
  Places places;

  /// Adds a problem; beyond kProblemCountMax it is dropped.
  void add(const Place& place, std::string path, std::string message);
};

/// The value of `node` under `rule`, or what is wrong with it: "is 'abc'; allowed: an integer from
/// 1 to 9".
std::variant<model::SettingValue, std::string> read_value(const YamlNode& node,
                                                          const model::SettingRule& rule);

/// Rules for values that are not layer settings.
model::SettingRule real_rule(double minimum, double maximum, bool is_minimum_excluded = false,
                             bool is_maximum_excluded = false);
model::SettingRule choice_rule(std::span<const std::string_view> choices);

/// One group of keys. Lives only while the tree and the state do.
class Section {
 public:
  /// `node` null: the group is missing, every key is. A node that is not a map is reported.
  Section(ReadingState& state, const YamlNode* node, std::string path);

  /// The value of a key, or null. The key counts as known from now on.
  const YamlNode* find(std::string_view key);
  bool has(std::string_view key) { return find(key) != nullptr; }
  /// The group of keys under `key`.
  Section group(std::string_view key) { return {state_, find(key), path_of(key)}; }

  /// The value of a key if it is there and right; problems are reported. Required: a missing key is
  /// one.
  std::optional<std::int64_t> integer(std::string_view key, std::int64_t minimum,
                                      std::int64_t maximum);
  std::optional<double> real(std::string_view key, const model::SettingRule& range);
  std::optional<bool> flag(std::string_view key);
  /// Index of the word in `choices`.
  std::optional<std::size_t> choice(std::string_view key,
                                    std::span<const std::string_view> choices);
  /// A name: 1 to 64 of letters, digits, '.', '_', '-', not beginning with a sign.
  std::optional<std::string> name(std::string_view key);

  /// Reports a missing key unless the whole group was unreadable.
  void require(std::string_view key, std::string_view allowed);
  /// Reports a key that stands in the file but does not belong here.
  void refuse(std::string_view key, const std::string& message);
  /// Reports a problem at a key (or, if it is missing, at the group).
  void problem(std::string_view key, const std::string& message);
  /// Reports every key that nobody asked for.
  void finish();

  /// "training.shard".
  std::string path_of(std::string_view key) const;
  ReadingState& state() { return state_; }

 private:
  const YamlNode* lookup(std::string_view key, const YamlNode** key_node) const;
  void report_duplicates();

  ReadingState& state_;
  const YamlNode* node_;
  std::string path_;
  std::vector<std::string_view> known_;
  bool is_broken_ = false;
};

/// Reads `model` with presets expanded; see job_spec_model.cpp.
void read_model(Section& root, JobSpec& spec);

/// Reads training, optimizer, schedule; see job_spec_training.cpp.
void read_training(Section& root, JobSpec& spec);
void read_optimizer(Section& root, JobSpec& spec);
void read_schedule(Section& root, JobSpec& spec);

/// Reads `aggregation`; see job_spec_aggregation.cpp. Requires: training is read.
void read_aggregation(Section& root, JobSpec& spec);

/// Place of `path`, else of the nearest group around it.
Place place_near(const Places& places, std::string_view path);

}  // namespace mh::scheduler
