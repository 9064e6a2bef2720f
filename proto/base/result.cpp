#include "proto/base/result.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "proto/base/check.h"
#include "proto/base/check_handler.h"

namespace mh {
namespace {

std::atomic<CheckHandler> check_handler{nullptr};

}  // namespace

std::string_view errc_name(Errc code) {
  switch (code) {
    case Errc::kCanceled:
      return "canceled";
    case Errc::kUnknown:
      return "unknown";
    case Errc::kInvalidArgument:
      return "invalid_argument";
    case Errc::kDeadlineExceeded:
      return "deadline_exceeded";
    case Errc::kNotFound:
      return "not_found";
    case Errc::kAlreadyExists:
      return "already_exists";
    case Errc::kPermissionDenied:
      return "permission_denied";
    case Errc::kResourceExhausted:
      return "resource_exhausted";
    case Errc::kFailedPrecondition:
      return "failed_precondition";
    case Errc::kAborted:
      return "aborted";
    case Errc::kOutOfRange:
      return "out_of_range";
    case Errc::kUnimplemented:
      return "unimplemented";
    case Errc::kInternal:
      return "internal";
    case Errc::kUnavailable:
      return "unavailable";
    case Errc::kDataLoss:
      return "data_loss";
    case Errc::kUnauthenticated:
      return "unauthenticated";
  }
  return "unknown";
}

void throw_exception_from_error(const Error& error, const boost::source_location&) {
  throw std::runtime_error(std::string(errc_name(error.code)) + ": " + error.message);
}

CheckHandler set_check_handler(CheckHandler handler) { return check_handler.exchange(handler); }

void check_failed(const char* condition, const char* file, int line) {
  if (const CheckHandler handler = check_handler.load()) handler(condition, file, line);
  std::fprintf(stderr, "%s:%d: broken invariant: %s\n", file, line, condition);
  std::abort();
}

}  // namespace mh
