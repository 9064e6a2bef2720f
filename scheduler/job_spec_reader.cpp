// Typed access to the tree of a job file; see job_spec_reader.h.
#include "scheduler/job_spec_reader.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <utility>

#include "trainer/model/words.h"

namespace mh::scheduler {
namespace {

using model::SettingRule;
using model::SettingValue;

template <class T>
std::optional<T> whole_number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string is_but_allowed(const YamlNode& node, const SettingRule& rule, const std::string& hint) {
  return "is " + found_text(node) + "; allowed: " + model::allowed_text(rule) + hint;
}

/// What to do about text that is no number of the wanted type, if that can be guessed.
std::string number_hint(const YamlNode& node, const SettingRule& rule) {
  const auto real = whole_number<double>(node.text);
  if (node.is_quoted && real) return " (write it without quotes)";
  if (rule.type == SettingRule::Type::kInteger && real && std::isfinite(*real) &&
      *real == std::floor(*real) && std::fabs(*real) < 9e15) {
    return " (write " + std::to_string(static_cast<std::int64_t>(*real)) + ")";
  }
  std::string plain = node.text;
  std::erase_if(plain, [](char letter) { return letter == '_' || letter == ',' || letter == ' '; });
  if (plain != node.text && whole_number<double>(plain)) return " (write " + plain + ")";
  return {};
}

std::variant<SettingValue, std::string> read_integer(const YamlNode& node,
                                                     const SettingRule& rule) {
  const auto value = whole_number<std::int64_t>(node.text);
  if (node.is_quoted || !value) return is_but_allowed(node, rule, number_hint(node, rule));
  return SettingValue(*value);
}

std::variant<SettingValue, std::string> read_real(const YamlNode& node, const SettingRule& rule) {
  static constexpr std::string_view kNotFinite[] = {".nan", ".NaN",  ".NAN",  ".inf",
                                                    ".Inf", "-.inf", "+.inf", "-.Inf"};
  const bool is_special =
      std::find(std::begin(kNotFinite), std::end(kNotFinite), node.text) != std::end(kNotFinite);
  const auto value = whole_number<double>(node.text);
  if (is_special || (value && !std::isfinite(*value))) {
    return is_but_allowed(node, rule, " (a finite one)");
  }
  if (node.is_quoted || !value) return is_but_allowed(node, rule, number_hint(node, rule));
  return SettingValue(*value);
}

std::variant<SettingValue, std::string> read_flag(const YamlNode& node, const SettingRule& rule) {
  if (!node.is_quoted && node.text == "true") return SettingValue(true);
  if (!node.is_quoted && node.text == "false") return SettingValue(false);
  std::string hint;
  if (node.text == "true" || node.text == "false") hint = " (write it without quotes)";
  return is_but_allowed(node, rule, hint);
}

std::variant<SettingValue, std::string> read_choice(const YamlNode& node, const SettingRule& rule) {
  if (std::find(rule.choices.begin(), rule.choices.end(), node.text) != rule.choices.end()) {
    return SettingValue(node.text);
  }
  const std::string_view near = model::nearest_word(node.text, rule.choices);
  return is_but_allowed(node, rule,
                        near.empty() ? "" : "; did you mean '" + std::string(near) + "'?");
}

/// excerpt() without its quotes, for paths.
std::string plain_excerpt(std::string_view text) {
  const std::string quoted = excerpt(text);
  return quoted.substr(1, quoted.size() - 2);
}

bool is_name(std::string_view text) {
  const auto is_word = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  if (text.empty() || text.size() > 64 || !is_word(text[0])) return false;
  return std::all_of(text.begin(), text.end(),
                     [&](char c) { return is_word(c) || c == '.' || c == '_' || c == '-'; });
}

}  // namespace

void ReadingState::add(const Place& place, std::string path, std::string message) {
  if (problems.size() >= kProblemCountMax) return;
  problems.push_back({place.line, place.column, std::move(path), std::move(message)});
}

std::variant<SettingValue, std::string> read_value(const YamlNode& node, const SettingRule& rule) {
  if (node.type != YamlNode::Type::kScalar) return is_but_allowed(node, rule, "");
  std::variant<SettingValue, std::string> outcome;
  switch (rule.type) {
    case SettingRule::Type::kInteger:
      outcome = read_integer(node, rule);
      break;
    case SettingRule::Type::kReal:
      outcome = read_real(node, rule);
      break;
    case SettingRule::Type::kFlag:
      return read_flag(node, rule);
    case SettingRule::Type::kChoice:
      return read_choice(node, rule);
  }
  if (const auto* value = std::get_if<SettingValue>(&outcome)) {
    if (model::value_problem(rule, *value)) return is_but_allowed(node, rule, "");
  }
  return outcome;
}

SettingRule real_rule(double minimum, double maximum, bool is_minimum_excluded,
                      bool is_maximum_excluded) {
  SettingRule rule;
  rule.type = SettingRule::Type::kReal;
  rule.minimum = minimum;
  rule.maximum = maximum;
  rule.is_minimum_excluded = is_minimum_excluded;
  rule.is_maximum_excluded = is_maximum_excluded;
  return rule;
}

SettingRule choice_rule(std::span<const std::string_view> choices) {
  SettingRule rule;
  rule.type = SettingRule::Type::kChoice;
  rule.choices = choices;
  return rule;
}

Section::Section(ReadingState& state, const YamlNode* node, std::string path)
    : state_(state), node_(node), path_(std::move(path)) {
  if (node_ == nullptr) return;
  if (node_->type != YamlNode::Type::kMap) {
    state_.add(node_->place, path_, "is " + found_text(*node_) + "; allowed: a group of keys");
    node_ = nullptr;
    is_broken_ = true;
    return;
  }
  report_duplicates();
}

void Section::report_duplicates() {
  std::map<std::string_view, std::uint32_t> lines;
  for (const YamlNode& key : node_->keys) {
    const auto [first, is_new] = lines.emplace(key.text, key.place.line);
    if (is_new) continue;
    state_.add(key.place, path_of(plain_excerpt(key.text)),
               "stands here twice; the first is in line " + std::to_string(first->second));
  }
}

const YamlNode* Section::lookup(std::string_view key, const YamlNode** key_node) const {
  if (node_ == nullptr) return nullptr;
  for (std::size_t i = 0; i < node_->keys.size(); ++i) {
    if (node_->keys[i].text != key) continue;
    if (key_node != nullptr) *key_node = &node_->keys[i];
    return &node_->items[i];
  }
  return nullptr;
}

const YamlNode* Section::find(std::string_view key) {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.push_back(key);
  const YamlNode* key_node = nullptr;
  const YamlNode* value = lookup(key, &key_node);
  if (value != nullptr) state_.places[path_of(key)] = key_node->place;
  return value;
}

std::optional<std::int64_t> Section::integer(std::string_view key, std::int64_t minimum,
                                             std::int64_t maximum) {
  const YamlNode* node = find(key);
  if (node == nullptr) return std::nullopt;
  auto outcome = read_value(*node, model::integer_rule(key, minimum, maximum));
  if (const auto* value = std::get_if<SettingValue>(&outcome))
    return std::get<std::int64_t>(*value);
  state_.add(node->place, path_of(key), std::get<std::string>(outcome));
  return std::nullopt;
}

std::optional<double> Section::real(std::string_view key, const SettingRule& range) {
  const YamlNode* node = find(key);
  if (node == nullptr) return std::nullopt;
  auto outcome = read_value(*node, range);
  if (const auto* value = std::get_if<SettingValue>(&outcome)) return std::get<double>(*value);
  state_.add(node->place, path_of(key), std::get<std::string>(outcome));
  return std::nullopt;
}

std::optional<bool> Section::flag(std::string_view key) {
  const YamlNode* node = find(key);
  if (node == nullptr) return std::nullopt;
  auto outcome = read_value(*node, model::flag_rule(key, false));
  if (const auto* value = std::get_if<SettingValue>(&outcome)) return std::get<bool>(*value);
  state_.add(node->place, path_of(key), std::get<std::string>(outcome));
  return std::nullopt;
}

std::optional<std::size_t> Section::choice(std::string_view key,
                                           std::span<const std::string_view> choices) {
  const YamlNode* node = find(key);
  if (node == nullptr) return std::nullopt;
  const auto outcome = read_value(*node, choice_rule(choices));
  if (const auto* value = std::get_if<SettingValue>(&outcome)) {
    const auto found = std::find(choices.begin(), choices.end(), std::get<std::string>(*value));
    return static_cast<std::size_t>(found - choices.begin());
  }
  state_.add(node->place, path_of(key), std::get<std::string>(outcome));
  return std::nullopt;
}

std::optional<std::string> Section::name(std::string_view key) {
  const YamlNode* node = find(key);
  if (node == nullptr) return std::nullopt;
  if (node->type == YamlNode::Type::kScalar && is_name(node->text)) return node->text;
  state_.add(
      node->place, path_of(key),
      "is " + found_text(*node) +
          "; allowed: 1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit");
  return std::nullopt;
}

void Section::require(std::string_view key, std::string_view allowed) {
  if (is_broken_ || has(key)) return;
  problem(key, "is missing; allowed: " + std::string(allowed));
}

void Section::refuse(std::string_view key, const std::string& message) {
  if (has(key)) problem(key, message);
}

void Section::problem(std::string_view key, const std::string& message) {
  const YamlNode* key_node = nullptr;
  lookup(key, &key_node);
  Place place;
  if (key_node != nullptr) {
    place = key_node->place;
  } else if (!path_.empty()) {
    place = place_near(state_.places, path_);
  }
  state_.add(place, path_of(key), message);
}

void Section::finish() {
  if (node_ == nullptr) return;
  for (const YamlNode& key : node_->keys) {
    if (std::find(known_.begin(), known_.end(), key.text) != known_.end()) continue;
    state_.add(
        key.place, path_of(plain_excerpt(key.text)),
        "unknown key " + excerpt(key.text) +
            (known_.empty() ? "; nothing can be set here" : model::did_you_mean(key.text, known_)));
  }
}

std::string Section::path_of(std::string_view key) const {
  return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

Place place_near(const Places& places, std::string_view path) {
  while (!path.empty()) {
    if (const auto found = places.find(path); found != places.end()) return found->second;
    const std::size_t cut = path.find_last_of(".[");
    path = cut == std::string_view::npos ? std::string_view() : path.substr(0, cut);
  }
  return {};
}

}  // namespace mh::scheduler
