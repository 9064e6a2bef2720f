// `manyhands completion bash`: a completion script made of the table of verbs.
#include <map>

#include "client/cli/verb.h"
#include "proto/base/options.h"

namespace mh::cli {
namespace {

// Takes down the names of a verb's options.
class OptionNames final : public OptionSink {
 public:
  void positional(const char*, std::string&, const char*) override {}
  void positionals(const char*, std::vector<std::string>&, const char*) override {}
  void text(const char* name, std::string&, const char*) override { add(name); }
  void texts(const char* name, std::vector<std::string>&, const char*) override { add(name); }
  void number(const char* name, std::uint64_t&, std::uint64_t, std::uint64_t,
              const char*) override {
    add(name);
  }
  void real(const char* name, double&, const char*) override { add(name); }
  void flag(const char* name, bool&, const char*) override { add(name); }
  const std::string& names() const { return names_; }

 private:
  void add(const char* name) { names_ += std::string(" ") + name; }
  std::string names_;
};

std::string bash_script() {
  std::map<std::string, std::string> words;  // after "" or a group
  std::string options;
  for (const Verb& verb : all_verbs()) {
    const std::string group = verb.group;
    if (!group.empty() && !words.contains(group)) words[""] += " " + group;
    words[group] += std::string(" ") + verb.name;
    OptionNames names;
    verb.define(names);
    options += "    '" + (group.empty() ? "" : group + " ") + verb.name +
               "') words='--help --json --server --token-file" + names.names() + "' ;;\n";
  }
  std::string groups;
  for (const auto& [group, verbs] : words) {
    if (!group.empty()) groups += "    '" + group + "') words='" + verbs.substr(1) + "' ;;\n";
  }
  return "# bash completion of manyhands: source <(manyhands completion bash)\n"
         "_manyhands() {\n"
         "  local current=${COMP_WORDS[COMP_CWORD]} verb= words= word\n"
         "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
         "    [[ $word == -* ]] && break\n"
         "    verb=\"${verb:+$verb }$word\"\n"
         "    [[ $verb == *\\ * ]] && break\n"
         "  done\n"
         "  case $verb in\n"
         "    '') words='" +
         words[""].substr(1) + " --help --version' ;;\n" + groups + options +
         "  esac\n"
         "  if [[ $current != -* && $verb == *\\ * ]] || [[ -z $words ]]; then\n"
         "    COMPREPLY=($(compgen -f -- \"$current\"))\n"
         "  else\n"
         "    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
         "  fi\n"
         "}\n"
         "complete -o filenames -F _manyhands manyhands\n";
}

}  // namespace

std::vector<Verb> completion_verbs() {
  return {{"", "completion", "Print a completion script for the shell",
           "source <(manyhands completion bash)", [](OptionSink& options) -> VerbRun {
             const auto shell = std::make_shared<std::string>();
             options.positional("shell", *shell, "bash");
             return [shell](Context& context) -> Result<int> {
               if (*shell != "bash")
                 return fail(Errc::kInvalidArgument,
                             "no completion for '" + *shell + "': only bash is known");
               context.out() << bash_script();
               return kExitDone;
             };
           }}};
}

}  // namespace mh::cli
