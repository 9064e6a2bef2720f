// The files that the sandboxed program can see: the same list makes the private root and the rules
// of Landlock, so that each alone keeps everything else away. A value.
#pragma once

#include <filesystem>
#include <vector>

namespace mh::sandbox {

struct Door {
  enum class Use {
    kRead,     // a file or a whole folder
    kExecute,  // and run it or map it executable
    kWrite,    // write files that exist in this folder; make, remove, list none
    kDevice,   // a device node
    kProc,     // a procfs of the own pid namespace
  };
  std::filesystem::path path;
  Use use = Use::kRead;
};

}  // namespace mh::sandbox
