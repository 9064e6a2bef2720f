// The command line of manyhands-client: one function a verb.
#pragma once

namespace mh::client {

/// Runs the program; returns its exit code: 0 done, 1 it failed or does not exist, 2 wrong usage or
/// input, 3 the server cannot be reached or does not allow it.
int run_client(int argc, const char* const* argv);

}  // namespace mh::client
