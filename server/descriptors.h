// How many files and sockets the process may have open, and how many of them may be connections.
// Called at the start. No threads.
#pragma once

#include <cstddef>

namespace mh::server {

// Raises the process's own limit (RLIMIT_NOFILE) as far as the system allows, and returns it.
std::size_t raise_descriptor_limit();

// How many of the `wanted` connections fit into a limit of descriptors: three quarters of it,
// because some of them have a file open, too. At least one.
std::size_t connections_within(std::size_t descriptors_max, std::size_t wanted);

}  // namespace mh::server
