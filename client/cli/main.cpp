// manyhands: the command line of admins and researchers. See app.h.
#include <iostream>

#include "client/cli/app.h"

int main(int argc, char** argv) { return mh::cli::run_cli(argc, argv, std::cout, std::cerr); }
