// See layers.h.
#include "client/sandbox/layers.h"

namespace mh::sandbox {
namespace {

constexpr std::array<std::string_view, kAllLayers.size()> kNames = {
    "privileges", "user",     "mount",   "pid",    "ipc",        "uts",
    "net",        "landlock", "seccomp", "limits", "environment"};
constexpr std::array kNamespaces = {Layer::kUser, Layer::kMount, Layer::kPid,
                                    Layer::kIpc,  Layer::kUts,   Layer::kNet};

std::optional<Layer> find_layer(std::string_view name) {
  for (const Layer layer : kAllLayers) {
    if (layer_name(layer) == name) return layer;
  }
  return std::nullopt;
}

std::string_view cut(std::string_view& text, char separator) {
  const std::size_t at = text.find(separator);
  const std::string_view first = text.substr(0, at);
  text = at == std::string_view::npos ? std::string_view() : text.substr(at + 1);
  return first;
}

}  // namespace

std::string_view layer_name(Layer layer) { return kNames[static_cast<std::size_t>(layer)]; }

LayerSet LayerSet::all() {
  LayerSet set;
  for (const Layer layer : kAllLayers) set.add(layer);
  return set;
}

LayerSet LayerSet::without(LayerSet other) const {
  LayerSet set;
  set.bits_ = bits_ & ~other.bits_;
  return set;
}

std::vector<std::string> LayerSet::names() const {
  std::vector<std::string> names;
  for (const Layer layer : kAllLayers) {
    if (has(layer)) names.emplace_back(layer_name(layer));
  }
  return names;
}

std::string LayerSet::text() const {
  std::string text;
  for (const std::string& name : names()) text += (text.empty() ? "" : ",") + name;
  return text.empty() ? "none" : text;
}

Result<LayerSet> parse_layers(std::string_view text) {
  if (text == "all") return LayerSet::all();
  LayerSet set;
  if (text == "none") return set;
  while (!text.empty()) {
    const std::string_view name = cut(text, ',');
    if (name == "namespaces") {
      for (const Layer layer : kNamespaces) set.add(layer);
    } else if (const auto layer = find_layer(name)) {
      set.add(*layer);
    } else {
      return fail(Errc::kInvalidArgument, "'" + std::string(name) +
                                              "' is no layer of the sandbox: namespaces, " +
                                              LayerSet::all().text());
    }
  }
  if (set.is_empty()) return fail(Errc::kInvalidArgument, "no layer of the sandbox is named");
  return set;
}

Result<Policy> parse_policy(std::string_view text) {
  if (text == "auto") return Policy{};
  if (text == "off") return Policy{.is_on = false, .required = {}};
  if (text == "require") return Policy{.is_on = true, .required = LayerSet::all()};
  auto required = parse_layers(text);
  if (!required.has_value())
    return fail(Errc::kInvalidArgument, required.error().message + "; or auto, require, off");
  return Policy{.is_on = true, .required = *required};
}

std::string available_text(const Available& available) {
  std::string text;
  for (const std::string& name : available.layers.names()) text += name + " yes\n";
  for (const Available::Missing& missing : available.missing)
    text += std::string(layer_name(missing.layer)) + " no: " + missing.why + "\n";
  for (const std::string& note : available.notes) text += "note " + note + "\n";
  return text;
}

Result<Available> parse_available(std::string_view text) {
  Available available;
  LayerSet seen;
  while (!text.empty()) {
    std::string_view rest = cut(text, '\n');
    const std::string line(rest);
    const std::string_view first = cut(rest, ' ');
    const auto layer = find_layer(first);
    if (first == "note") {
      available.notes.emplace_back(rest);
    } else if (layer && rest == "yes") {
      available.layers.add(*layer);
    } else if (layer && rest.starts_with("no: ")) {
      available.missing.push_back({*layer, std::string(rest.substr(4))});
    } else {
      return fail(Errc::kInvalidArgument, "not a line about a layer: '" + line + "'");
    }
    if (layer) seen.add(*layer);
  }
  if (const LayerSet unknown = LayerSet::all().without(seen); !unknown.is_empty())
    return fail(Errc::kInvalidArgument, "nothing is said about " + unknown.text());
  return available;
}

}  // namespace mh::sandbox
