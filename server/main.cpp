// manyhands-server.
#include "server/commands.h"

int main(int argc, char** argv) { return mh::server::run_command_line(argc, argv); }
