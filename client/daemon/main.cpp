// manyhands-client: the volunteer's program. See commands.h.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "client/daemon/commands.h"

namespace {

// A join line holds an invitation behind '#': other users of this machine shall not read it in the
// list of processes.
void hide_fragment(char* argument) {
  if (char* mark = std::strchr(argument, '#'); mark != nullptr)
    std::fill(mark + 1, mark + std::strlen(mark), '*');
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> given(argv, argv + argc);
  std::vector<const char*> arguments;
  for (const std::string& text : given) arguments.push_back(text.c_str());
  for (int i = 1; i < argc; ++i) hide_fragment(argv[i]);
  return mh::client::run_client(argc, arguments.data());
}
