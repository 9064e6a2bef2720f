// manyhands-sim: the real scheduler and the real client core in virtual time.
#include "tests/sim/commands.h"

int main(int argc, char** argv) { return mh::sim::run_command_line(argc, argv); }
