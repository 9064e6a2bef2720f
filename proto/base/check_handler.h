// Who hears of a broken invariant before the process aborts: the simulator, which has to say under
// which seed it broke. Programs that serve somebody never set it.
#pragma once

namespace mh {

// May throw: the exception then leaves the MH_CHECK that failed, and what the check guards must not
// be used again.
using CheckHandler = void (*)(const char* condition, const char* file, int line);

// Replaces the handler and returns the one before; null: none.
// Threads: any; it holds for all of them.
CheckHandler set_check_handler(CheckHandler handler);

}  // namespace mh
