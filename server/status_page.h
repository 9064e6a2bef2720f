// The page at GET /: what trains, how far it is, who helps. One file without outside parts; its
// script asks the same Connect calls that curl can ask, with a token that stays in the browser tab.
// Threads: a constant.
#pragma once

#include <string_view>

namespace mh::server {

// The whole document, text/html in UTF-8.
std::string_view status_page();
// Value of its Content-Security-Policy header.
std::string_view status_page_policy();

}  // namespace mh::server
