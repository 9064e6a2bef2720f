// What every verb of `manyhands` gets: the server (found by login, environment or flags), calls,
// blobs, and where to print. The HTTP client stays in context.cpp. Threads: one; calls block.
#pragma once

#include <google/protobuf/message.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "client/cli/login.h"
#include "proto/base/result.h"
#include "proto/base/sha256.h"

namespace mh::cli {

/// Flags that every verb knows.
struct GlobalFlags {
  LoginFlags login;
  bool wants_json = false;
};

class Context {
 public:
  Context(GlobalFlags flags, std::ostream& out, std::ostream& err);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const GlobalFlags& flags() const { return flags_; }
  bool wants_json() const { return flags_.wants_json; }
  std::ostream& out() { return out_; }
  std::ostream& err() { return err_; }
  /// True if stdout (or stderr) is a terminal.
  static bool is_terminal(int descriptor);

  /// Uses this server from now on instead of the one found by flags, environment and login.
  void use(const Login& login);

  /// One call: `call<v1::GetJobResponse>("JobService/GetJob", request)`.
  /// Errors: the server's; kUnavailable and kUnauthenticated say which server and what to do.
  template <class Response>
  Result<Response> call(const std::string& method, const google::protobuf::Message& request,
                        std::chrono::milliseconds timeout = std::chrono::seconds(60)) {
    Response response;
    MH_TRY_VOID(call_message(method, request, response, timeout));
    return response;
  }
  Status call_message(const std::string& method, const google::protobuf::Message& request,
                      google::protobuf::Message& response, std::chrono::milliseconds timeout);

  /// Uploads a blob; it is on the server's disk when this returns.
  Status upload(std::string content, const Digest& digest);
  /// Downloads a blob to a file, verified and renamed into place when whole.
  Status download(const Digest& digest, const std::filesystem::path& target,
                  std::function<void(std::uint64_t done, std::uint64_t total)> progress);

  /// Downloads a blob that nobody keeps to a file, verified. Errors: also kDataLoss (its bytes are
  /// not those of the digest), kResourceExhausted (longer than bytes_max), kNotFound.
  Status fetch_file(const Digest& digest, const std::filesystem::path& target,
                    std::uint64_t bytes_max);
  /// A small blob, verified. Errors: the same.
  Result<std::string> fetch(const Digest& digest, std::uint64_t bytes_max);

  /// Prints a message as JSON, every field shown.
  void print_json(const google::protobuf::Message& message);

 private:
  struct Connection;
  Status connect();
  Error explain(Error error) const;

  const GlobalFlags flags_;
  std::ostream& out_;
  std::ostream& err_;
  Login login_;
  std::unique_ptr<Connection> connection_;
};

}  // namespace mh::cli
