// The section `model` of a job file: a preset with its settings, or a list of layers.
#include <array>

#include "scheduler/job_spec_reader.h"
#include "trainer/model/presets.h"
#include "trainer/model/words.h"

namespace mh::scheduler {
namespace {

using model::LayerKind;
using model::LayerSpec;

constexpr std::int64_t kPresetSizeMax = 1'048'576;
constexpr std::size_t kPresetListMax = 32;

/// A list of sizes in a preset: [16, 32]. Leaves `sizes` alone when the key is missing.
void read_sizes(Section& section, std::string_view key, std::size_t least,
                std::vector<std::int64_t>& sizes) {
  const YamlNode* list = section.find(key);
  if (list == nullptr) return;
  if (list->type != YamlNode::Type::kSequence || list->items.size() < least ||
      list->items.size() > kPresetListMax) {
    const std::string found = list->type == YamlNode::Type::kSequence
                                  ? "a list of " + std::to_string(list->items.size())
                                  : found_text(*list);
    section.problem(key, "is " + found + "; allowed: a list of " + std::to_string(least) + " to " +
                             std::to_string(kPresetListMax) + " integers, for example [128, 64]");
    return;
  }
  sizes.clear();
  const auto rule = model::integer_rule(key, 1, kPresetSizeMax);
  for (std::size_t i = 0; i < list->items.size(); ++i) {
    auto outcome = read_value(list->items[i], rule);
    if (const auto* value = std::get_if<model::SettingValue>(&outcome)) {
      sizes.push_back(std::get<std::int64_t>(*value));
    } else {
      section.state().add(list->items[i].place,
                          section.path_of(key) + "[" + std::to_string(i) + "]",
                          std::get<std::string>(outcome));
    }
  }
}

void read_dropout(Section& section, double& dropout) {
  if (const auto value = section.real("dropout", real_rule(0, 1, false, true))) dropout = *value;
}

std::vector<LayerSpec> read_mlp(Section& section) {
  static constexpr std::array<std::string_view, 3> kActivations = {"relu", "gelu", "tanh"};
  model::MlpPreset preset;
  read_sizes(section, "hidden", 0, preset.hidden);
  if (const auto index = section.choice("activation", kActivations)) {
    preset.activation = kActivations[*index];
  }
  read_dropout(section, preset.dropout);
  return mlp_layers(preset);
}

std::vector<LayerSpec> read_cnn(Section& section) {
  model::CnnPreset preset;
  read_sizes(section, "channels", 1, preset.channels);
  if (const auto value = section.integer("kernel", 1, 64)) preset.kernel = *value;
  if (const auto value = section.integer("padding", 0, 64)) preset.padding = *value;
  if (const auto value = section.integer("hidden", 1, kPresetSizeMax)) preset.hidden = *value;
  read_dropout(section, preset.dropout);
  return cnn_layers(preset);
}

/// The settings of one layer; `node` is null for a layer without any.
void read_settings(ReadingState& state, const LayerKind& kind, const YamlNode* node,
                   const Place& place, const std::string& path, model::Settings& settings) {
  if (node != nullptr && node->type != YamlNode::Type::kMap) {
    state.add(node->place, path,
              std::string(kind.name) + " is followed by " + found_text(*node) +
                  "; allowed: a group of settings, as in {" + std::string(kind.name) + ": {…}}");
    return;
  }
  state.places[path] = place;
  Section section(state, node, path);
  for (const model::SettingRule& rule : kind.settings) {
    const YamlNode* value = section.find(rule.name);
    if (value != nullptr) {
      auto outcome = read_value(*value, rule);
      if (const auto* good = std::get_if<model::SettingValue>(&outcome)) {
        settings[std::string(rule.name)] = *good;
      } else {
        state.add(value->place, section.path_of(rule.name), std::get<std::string>(outcome));
      }
    } else if (!rule.default_value && !rule.is_optional) {
      state.add(place, section.path_of(rule.name),
                "is missing; " + std::string(kind.name) + " needs it: " + allowed_text(rule));
    }
  }
  section.finish();
  fill_defaults(kind, settings);
}

/// One item of `layers`: a word, or one word with settings.
void read_layer(ReadingState& state, const YamlNode& item, const std::string& path,
                std::vector<LayerSpec>& layers) {
  const YamlNode* word = &item;
  const YamlNode* settings = nullptr;
  if (item.type == YamlNode::Type::kMap && !item.keys.empty()) {
    word = &item.keys[0];
    settings = &item.items[0];
    if (item.keys.size() > 1) {
      const bool is_flat = settings->type == YamlNode::Type::kNull;
      state.add(item.keys[1].place, path,
                is_flat ? "the settings of " + excerpt(word->text) +
                              " must be indented further than its name"
                        : "one layer a list item; begin " + excerpt(item.keys[1].text) +
                              " with a dash of its own");
      return;
    }
    if (settings->type == YamlNode::Type::kNull) settings = nullptr;
  } else if (item.type != YamlNode::Type::kScalar) {
    state.add(item.place, path,
              "is " + found_text(item) + "; allowed: a layer, as in relu or {linear: {out: 10}}");
    return;
  }
  const LayerKind* kind = model::find_layer_kind(word->text);
  if (kind == nullptr) {
    state.add(word->place, path,
              "unknown layer " + excerpt(word->text) +
                  model::did_you_mean(word->text, model::layer_kind_names()));
    return;
  }
  LayerSpec layer;
  layer.kind = kind->name;
  read_settings(state, *kind, settings, word->place, path, layer.settings);
  layers.push_back(std::move(layer));
}

void read_layers(Section& section, const YamlNode& list, std::vector<LayerSpec>& layers) {
  if (list.type != YamlNode::Type::kSequence || list.items.empty() ||
      list.items.size() > model::kLayerCountMax) {
    const std::string found = list.type == YamlNode::Type::kSequence
                                  ? "a list of " + std::to_string(list.items.size())
                                  : found_text(list);
    section.problem("layers", "is " + found + "; allowed: a list of 1 to " +
                                  model::grouped(model::kLayerCountMax) + " layers");
    return;
  }
  for (std::size_t i = 0; i < list.items.size(); ++i) {
    read_layer(section.state(), list.items[i],
               section.path_of("layers") + "[" + std::to_string(i) + "]", layers);
  }
}

}  // namespace

void read_model(Section& root, JobSpec& spec) {
  static constexpr std::array<std::string_view, 2> kPresets = {"cnn", "mlp"};
  root.require("model", "{preset: cnn}, {preset: mlp} or {layers: […]}");
  if (!root.has("model")) return;
  Section section = root.group("model");
  const YamlNode* layers = section.find("layers");
  const bool has_preset = section.has("preset");
  if (layers != nullptr) {
    section.refuse("preset", "stands beside layers; a model has one or the other");
    read_layers(section, *layers, spec.model.layers);
  } else if (has_preset) {
    const auto preset = section.choice("preset", kPresets);
    // Which settings are known depends on the preset.
    if (!preset) return;
    spec.model.layers = *preset == 0 ? read_cnn(section) : read_mlp(section);
  } else {
    section.require("layers", "a list of layers, or instead preset: cnn or mlp");
  }
  section.finish();
}

}  // namespace mh::scheduler
