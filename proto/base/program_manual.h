// A program's manual page and shell completion, both made of the one table of options that its
// parser has. Pure text; no threads.
//
// Every program prints them when its only argument is `--man` or `--bash-completion`
// (parse_command_line, options.h); scripts/package.sh installs what they print.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace mh {

/// The page in roff, section 1: every verb with its options, defaults and example. What the parser
/// hides (an empty group) is left out.
std::string manual_page(const CLI::App& app);

/// A script for bash: verbs, verbs of groups, options; file names elsewhere.
std::string bash_completion(const CLI::App& app);

}  // namespace mh
