// The command line of `manyhands`, made of the table of verbs.
#pragma once

#include <ostream>
#include <string>

namespace mh::cli {

/// Runs the program; returns its exit code: 0 done, 1 the thing asked about failed or does not
/// exist, 2 wrong usage or input, 3 the server cannot be reached or does not allow it.
int run_cli(int argc, const char* const* argv, std::ostream& out, std::ostream& err);

/// The completion script for bash, made of the same table.
std::string bash_completion_script();

}  // namespace mh::cli
