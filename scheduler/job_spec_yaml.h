// YAML text as a tree of our own, under hard limits: the first stage of parse_job(). Private to
// scheduler/job_spec*.
//
// Built straight from yaml-cpp's events, so that nothing is built before it is counted and aliases
// never expand. yaml-cpp's exceptions stop here. Pure; no threads.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "scheduler/job_spec.h"

namespace mh::scheduler {

/// One node of the file.
struct YamlNode {
  enum class Type { kNull, kScalar, kSequence, kMap };

  Type type = Type::kNull;
  Place place;
  /// Scalar: its text, and whether it stood in quotes (then it is never a number).
  std::string text;
  bool is_quoted = false;
  /// Sequence: items. Map: values, in the order of `keys`.
  std::vector<YamlNode> items;
  /// Map: keys, each a scalar with its own place.
  std::vector<YamlNode> keys;
};

/// "the number 12"-like wording of what a node is, for messages: "'abc'", "a list", "nothing".
std::string found_text(const YamlNode& node);

/// Text in single quotes, cut to 40 bytes, with control and non-ASCII bytes as \xNN.
std::string excerpt(std::string_view text);

/// Reads exactly one document. A problem is final: nothing else of the file is looked at.
std::variant<YamlNode, Problem> read_yaml(std::string_view text);

}  // namespace mh::scheduler
