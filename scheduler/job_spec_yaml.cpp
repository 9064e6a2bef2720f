// YAML text as a tree; see job_spec_yaml.h.
#include "scheduler/job_spec_yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <optional>
#include <sstream>

#include "proto/base/utf8.h"
#include "trainer/model/words.h"

namespace mh::scheduler {
namespace {

/// Thrown by our event handler through yaml-cpp, caught in read_yaml().
struct Refusal {
  Problem problem;
};

Place place_of(const YAML::Mark& mark) {
  return {static_cast<std::uint32_t>(mark.line + 1), static_cast<std::uint32_t>(mark.column + 1)};
}

/// Builds the tree; throws Refusal at the first thing that job files may not have.
class TreeBuilder final : public YAML::EventHandler {
 public:
  YamlNode take_root() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add(mark, anchor, "", YamlNode::Type::kNull);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { refuse_alias(mark); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    YamlNode& node = add(mark, anchor, tag, YamlNode::Type::kScalar);
    node.text = value;
    node.is_quoted = tag == "!";
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(add(mark, anchor, tag, YamlNode::Type::kSequence));
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(add(mark, anchor, tag, YamlNode::Type::kMap));
  }
  void OnMapEnd() override { open_.pop_back(); }

 private:
  [[noreturn]] static void refuse(const YAML::Mark& mark, std::string message) {
    const Place place = place_of(mark);
    throw Refusal{{place.line, place.column, "", std::move(message)}};
  }

  [[noreturn]] static void refuse_alias(const YAML::Mark& mark) {
    refuse(
        mark,
        "anchors (&name) and aliases (*name) are not allowed in a job file; write the value out");
  }

  /// Adds a node to the innermost open one. Keys of a map may only be scalars.
  YamlNode& add(const YAML::Mark& mark, YAML::anchor_t anchor, const std::string& tag,
                YamlNode::Type type) {
    if (anchor != 0) refuse_alias(mark);
    if (!tag.empty() && tag != "?" && tag != "!") {
      refuse(mark, "tags (" + excerpt(tag) + ") are not allowed in a job file");
    }
    if (++node_count_ > kJobNodeCountMax) {
      refuse(mark, "the file has more than " + model::grouped(kJobNodeCountMax) +
                       " keys and values, which is the limit");
    }
    Place place = place_of(mark);
    YamlNode* slot = &root_;
    if (!open_.empty()) {
      YamlNode& parent = *open_.back();
      const bool is_map = parent.type == YamlNode::Type::kMap;
      const bool is_key = is_map && parent.keys.size() == parent.items.size();
      if (is_key && type != YamlNode::Type::kScalar) {
        refuse(mark,
               "a key must be a word, not a list or a group; is a bracket or brace left open?");
      }
      // yaml-cpp sees a missing value only at the next key, which is another line.
      if (is_map && !is_key && type == YamlNode::Type::kNull) place = parent.keys.back().place;
      slot = &(is_key ? parent.keys : parent.items).emplace_back();
    }
    slot->type = type;
    slot->place = place;
    last_mark_ = mark;
    return *slot;
  }

  void open(YamlNode& node) {
    // Siblings are only added to the innermost open node, so that pointers to its ancestors stay
    // valid.
    if (open_.size() >= static_cast<std::size_t>(kJobNestingMax)) {
      refuse(last_mark_, "lists and maps are nested more than " + std::to_string(kJobNestingMax) +
                             " deep, which is the limit");
    }
    open_.push_back(&node);
  }

  YamlNode root_;
  std::vector<YamlNode*> open_;
  YAML::Mark last_mark_;
  int node_count_ = 0;
};

/// Bytes that no job file holds: bad UTF-8, control characters, tabs before the first word of a
/// line.
std::optional<Problem> check_bytes(std::string_view text) {
  std::uint32_t line = 1;
  std::size_t line_start = 0;
  bool is_indentation = true;
  // Place of the first tab of the line; npos: none.
  std::size_t tab = std::string_view::npos;
  for (std::size_t at = 0; at < text.size();) {
    const auto column = [&](std::size_t i) {
      return static_cast<std::uint32_t>(i - line_start + 1);
    };
    const char letter = text[at];
    const std::size_t length = utf8_length(text.substr(at));
    if (length == 0) {
      return Problem{line, column(at), "", "the file is not UTF-8 text here; save it as UTF-8"};
    }
    const auto code = static_cast<unsigned char>(letter);
    if ((code < 0x20 && letter != '\n' && letter != '\r' && letter != '\t') || code == 0x7F) {
      return Problem{line, column(at), "",
                     "the file has a control character here; is it a text file?"};
    }
    if (letter == '\n') {
      ++line;
      line_start = at + 1;
      is_indentation = true;
      tab = std::string_view::npos;
    } else if (letter == '\t' && is_indentation && tab == std::string_view::npos) {
      tab = at;
    } else if (letter != ' ' && letter != '\t' && letter != '\r') {
      if (is_indentation && tab != std::string_view::npos && letter != '#') {
        return Problem{line, column(tab), "",
                       "a tab in the indentation; YAML allows only spaces there"};
      }
      is_indentation = false;
    }
    at += length;
  }
  return std::nullopt;
}

std::variant<YamlNode, Problem> read_document(std::string_view text) {
  std::istringstream stream{std::string(text)};
  YAML::Parser parser(stream);
  TreeBuilder builder;
  if (!parser.HandleNextDocument(builder)) return Problem{0, 0, "", "the file is empty"};
  YamlNode root = builder.take_root();
  TreeBuilder second;
  if (parser.HandleNextDocument(second)) {
    return Problem{second.take_root().place.line, 1, "",
                   "the file holds more than one document (---); a job is one document"};
  }
  return root;
}

}  // namespace

std::string excerpt(std::string_view text) {
  constexpr std::size_t kBytesMax = 40;
  std::string out = "'";
  for (const char letter : text.substr(0, kBytesMax)) {
    const auto code = static_cast<unsigned char>(letter);
    if (code >= 0x20 && code < 0x7F) {
      out += letter;
    } else {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", code);
      out += escaped;
    }
  }
  out += text.size() > kBytesMax ? "…'" : "'";
  return out;
}

std::string found_text(const YamlNode& node) {
  switch (node.type) {
    case YamlNode::Type::kNull:
      return "nothing";
    case YamlNode::Type::kSequence:
      return "a list";
    case YamlNode::Type::kMap:
      return "a group of keys";
    case YamlNode::Type::kScalar:
      break;
  }
  return node.is_quoted ? "the text " + excerpt(node.text) : excerpt(node.text);
}

std::variant<YamlNode, Problem> read_yaml(std::string_view text) {
  if (text.size() > kJobTextBytesMax) {
    return Problem{0, 0, "",
                   "the file is " + model::grouped(static_cast<std::int64_t>(text.size())) +
                       " bytes; a job file has at most " +
                       model::grouped(static_cast<std::int64_t>(kJobTextBytesMax))};
  }
  if (auto problem = check_bytes(text)) return std::move(*problem);
  try {
    return read_document(text);
  } catch (const Refusal& refusal) {
    return refusal.problem;
  } catch (const YAML::Exception& error) {
    if (error.mark.is_null()) return Problem{0, 0, "", "not YAML: " + error.msg};
    const Place place = place_of(error.mark);
    return Problem{place.line, place.column, "", "not YAML: " + error.msg};
  } catch (const std::exception& error) {
    return Problem{0, 0, "", std::string("cannot be read: ") + error.what()};
  }
}

}  // namespace mh::scheduler
