// manyhands-trainer: the program that computes. See program.h.
#include "trainer/engine/program.h"

int main(int argc, char** argv) { return mh::engine::run_trainer(argc, argv); }
