// `manyhands completion bash`: a completion script made of the table of verbs (program_manual.h).
#include "client/cli/app.h"
#include "client/cli/verb.h"
#include "proto/base/options.h"

namespace mh::cli {

std::vector<Verb> completion_verbs() {
  return {{"", "completion", "Print a completion script for the shell",
           "source <(manyhands completion bash)", [](OptionSink& options) -> VerbRun {
             const auto shell = std::make_shared<std::string>();
             options.positional("shell", *shell, "bash");
             return [shell](Context& context) -> Result<int> {
               if (*shell != "bash")
                 return fail(Errc::kInvalidArgument,
                             "no completion for '" + *shell + "': only bash is known");
               context.out() << bash_completion_script();
               return kExitDone;
             };
           }}};
}

}  // namespace mh::cli
