// The program manyhands-trainer: its command line and verbs. Torch-free.
// Flow: main.cpp -> run_trainer() -> one of the verbs below, each in a file of its own
// (verb_<name>.cpp). Threads: the main thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "proto/base/result.h"

namespace CLI {
class App;
}

namespace mh::engine {

/// Runs a verb and returns the exit code.
using VerbRun = std::function<Result<int>()>;

/// Defines a verb as a subcommand of `app`; the run is stored in `chosen` when the verb is given.
using VerbDefinition = void (*)(CLI::App& app, VerbRun& chosen);

void define_serve(CLI::App& app, VerbRun& chosen);
void define_reference(CLI::App& app, VerbRun& chosen);
void define_gradient(CLI::App& app, VerbRun& chosen);
void define_predict(CLI::App& app, VerbRun& chosen);
void define_evaluate(CLI::App& app, VerbRun& chosen);
void define_bench(CLI::App& app, VerbRun& chosen);

/// Adds a verb with an example and the exit codes under its --help.
CLI::App* add_verb(CLI::App& app, const char* name, const char* what, const char* example);
/// The option --device.
void add_device_option(CLI::App& verb, std::string& device);
/// The option --data, which may be given several times.
void add_data_option(CLI::App& verb, std::vector<std::string>& data);

/// The whole program. Returns the exit code.
int run_trainer(int argc, const char* const* argv);

}  // namespace mh::engine
