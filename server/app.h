// The server as one object: its parts in construction order, started and stopped in order.
// Threads: run() blocks; the threads it starts are listed in docs/threading.md.
#pragma once

#include <memory>

#include "proto/base/result.h"
#include "server/options.h"

namespace mh::server {

class App {
 public:
  // Opens the folder and takes up what an earlier run left. Errors: kInvalidArgument (options),
  // kNotFound, kUnavailable (the folder is in use), kFailedPrecondition (newer schema), kDataLoss.
  static Result<std::unique_ptr<App>> open(const ServerOptions& options);
  ~App();

  // Listens, prints where, serves until SIGTERM or SIGINT, stops in order. A second signal ends the
  // process at once. Errors: kUnavailable (cannot listen).
  Status run();

 private:
  struct Parts;
  explicit App(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace mh::server
