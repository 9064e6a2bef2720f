// See program_manual.h.
#include "proto/base/program_manual.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <vector>

#include "proto/base/build_info.h"

namespace mh {
namespace {

// A verb that does something, by the words that lead to it: "job show".
struct Leaf {
  std::string words;
  const CLI::App* app = nullptr;
};

std::vector<const CLI::App*> shown_verbs(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* sub) { return !sub->get_group().empty(); });
}

void collect_leaves(const CLI::App& app, const std::string& words, std::vector<Leaf>& leaves) {
  for (const CLI::App* verb : shown_verbs(app)) {
    const std::string name = words.empty() ? verb->get_name() : words + " " + verb->get_name();
    if (shown_verbs(*verb).empty())
      leaves.push_back({name, verb});
    else
      collect_leaves(*verb, name, leaves);
  }
}

std::vector<Leaf> leaves_of(const CLI::App& app) {
  std::vector<Leaf> leaves;
  collect_leaves(app, "", leaves);
  return leaves;
}

std::vector<const CLI::Option*> shown_options(const CLI::App& app) {
  return app.get_options([](const CLI::Option* option) { return !option->get_group().empty(); });
}

// --- Manual page ---

std::string roff(const std::string& text) {
  std::string escaped;
  bool is_line_start = true;
  for (const char c : text) {
    if (is_line_start && (c == '.' || c == '\'')) escaped += "\\&";
    if (c == '\\') {
      escaped += "\\e";
    } else {
      if (c == '-') escaped += '\\';
      escaped += c;
    }
    is_line_start = c == '\n';
  }
  return escaped;
}

std::string bold(const std::string& text) { return "\\fB" + roff(text) + "\\fR"; }
std::string italic(const std::string& text) { return "\\fI" + roff(text) + "\\fR"; }

bool is_word(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isupper(c) != 0 || c == ':' || c == '_';
  });
}

// The parser writes "UINT:INT in [0 - 9]" or "TEXT:DEVICE": a kind, then what is allowed.
struct Kind {
  std::string name;
  std::string allowed;
};

Kind kind_of(const CLI::Option& option) {
  const std::string text = option.get_type_name();
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos || text == "HOST:PORT") return {text, ""};
  const std::string rest = text.substr(colon + 1);
  if (rest.empty()) return {text.substr(0, colon), ""};
  return is_word(rest) ? Kind{rest, ""} : Kind{text.substr(0, colon), rest};
}

std::string option_entry(const CLI::Option& option) {
  const Kind kind = kind_of(option);
  std::string entry = ".TP\n";
  if (option.get_positional()) {
    entry += italic(option.get_name(true));
  } else {
    std::string names;
    for (const std::string& name : option.get_snames())
      names += (names.empty() ? "" : ", ") + bold("-" + name);
    for (const std::string& name : option.get_lnames())
      names += (names.empty() ? "" : ", ") + bold("--" + name);
    entry += names + (kind.name.empty() ? "" : " " + italic(kind.name));
  }
  entry += "\n" + roff(option.get_description());
  if (!kind.allowed.empty()) entry += " (" + roff(kind.allowed) + ")";
  if (!option.get_default_str().empty()) entry += " [" + roff(option.get_default_str()) + "]";
  return entry + "\n";
}

// The paragraphs of a footer: examples stand as they are, exit codes are gathered in one section.
std::string footer_text(const CLI::App& app, std::string& exit_codes) {
  std::string shown;
  std::string footer = app.get_footer();
  for (std::size_t at = 0; at < footer.size();) {
    const std::size_t end = std::min(footer.find("\n\n", at), footer.size());
    std::string paragraph = footer.substr(at, end - at);
    at = end + 2;
    const std::size_t codes = paragraph.find("Exit codes:");
    if (codes != std::string::npos) {
      std::string text = paragraph.substr(codes + 11);
      paragraph.resize(codes);
      text.erase(0, text.find_first_not_of(" \n"));
      if (exit_codes.empty()) exit_codes = text;
    }
    if (paragraph.find_first_not_of(" \n") == std::string::npos) continue;
    shown += ".PP\n.nf\n" + roff(paragraph) + "\n.fi\n";
  }
  return shown;
}

std::string verb_section(const std::string& program, const Leaf& leaf, std::string& exit_codes) {
  std::string usage = program + " " + leaf.words;
  std::string entries;
  for (const CLI::Option* option : shown_options(*leaf.app)) {
    if (option->get_name().find("--help") != std::string::npos) continue;
    if (option->get_positional()) usage += " " + option->get_name(true);
    entries += option_entry(*option);
  }
  return ".SS \"" + roff(usage) + "\"\n" + roff(leaf.app->get_description()) + "\n" + entries +
         footer_text(*leaf.app, exit_codes);
}

}  // namespace

std::string manual_page(const CLI::App& app) {
  const std::string name = app.get_name();
  std::string what = app.get_description();
  if (what.starts_with(name + ": ")) what.erase(0, name.size() + 2);
  if (what.ends_with('.')) what.pop_back();
  std::string upper = name;
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  std::string exit_codes;
  const std::string footer = footer_text(app, exit_codes);
  std::string verbs;
  for (const Leaf& leaf : leaves_of(app)) verbs += verb_section(name, leaf, exit_codes);
  std::string page = ".TH " + roff(upper) + " 1 \"\" \"Manyhands " + std::string(kVersion) +
                     "\" \"Manyhands\"\n.SH NAME\n" + roff(name) + " \\- " + roff(what) +
                     "\n.SH SYNOPSIS\n" + bold(name) + " " + italic("COMMAND") + " [" +
                     italic("OPTIONS") + "]\n.SH DESCRIPTION\nEvery command has " + bold("--help") +
                     "; defaults stand in brackets.\n" + footer + ".SH COMMANDS\n" + verbs;
  if (!exit_codes.empty()) page += ".SH EXIT STATUS\n" + roff(exit_codes) + "\n";
  return page;
}

// --- Completion ---

namespace {

std::string option_names(const CLI::App& app) {
  std::string names;
  for (const CLI::Option* option : shown_options(app))
    for (const std::string& name : option->get_lnames()) names += " --" + name;
  return names;
}

// The branches of the script's two `case`s: all that leads to a verb, and what may follow each.
struct Branches {
  std::string known;
  std::string words;
};

void add_branches(const CLI::App& app, const std::string& words, Branches& branches) {
  std::string next;
  for (const CLI::App* verb : shown_verbs(app)) next += " " + verb->get_name();
  const std::string all = next + option_names(app);
  branches.words += "    '" + words + "') words='" +
                    all.substr(std::min<std::size_t>(1, all.size())) + "'" +
                    (next.empty() ? " files=yes" : "") + " ;;\n";
  for (const CLI::App* verb : shown_verbs(app)) {
    const std::string name = words.empty() ? verb->get_name() : words + " " + verb->get_name();
    branches.known += (branches.known.empty() ? "'" : " | '") + name + "'";
    add_branches(*verb, name, branches);
  }
}

}  // namespace

std::string bash_completion(const CLI::App& app) {
  const std::string name = app.get_name();
  std::string function = "_" + name;
  std::replace(function.begin(), function.end(), '-', '_');
  Branches branches;
  add_branches(app, "", branches);
  return "# bash completion of " + name + "\n" + function +
         "() {\n"
         "  local current=${COMP_WORDS[COMP_CWORD]} verb= words= files= word\n"
         "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
         "    case ${verb:+$verb }$word in\n"
         "    " +
         branches.known +
         ") verb=${verb:+$verb }$word ;;\n"
         "    *) break ;;\n"
         "    esac\n"
         "  done\n"
         "  case $verb in\n" +
         branches.words +
         "  esac\n"
         "  if [[ $files && $current != -* ]]; then\n"
         "    COMPREPLY=($(compgen -f -- \"$current\"))\n"
         "  else\n"
         "    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
         "  fi\n"
         "}\n"
         "complete -o filenames -F " +
         function + " " + name + "\n";
}

}  // namespace mh
