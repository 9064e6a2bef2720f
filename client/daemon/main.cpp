// manyhands-client: the volunteer's program. See commands.h.
#include "client/daemon/commands.h"

int main(int argc, char** argv) { return mh::client::run_client(argc, argv); }
