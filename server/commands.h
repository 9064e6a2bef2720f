// `manyhands-server`: its verbs, from the command line to an exit code.
#pragma once

namespace mh::server {

int run_command_line(int argc, const char* const* argv);

}  // namespace mh::server
