// Errors are values: Result<T> is a T or an Error. What a peer, a user or a disk can cause is a
// Result; a broken invariant is MH_CHECK (check.h); exceptions stop at the wrapper of the library
// that throws them.
#pragma once

#include <boost/system/result.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace mh {

// The sixteen Connect codes, used inside the programs too. The HTTP status is in brackets.
enum class Errc {
  kCanceled = 1,            // The caller gave up [499].
  kUnknown = 2,             // Only for errors of others that say nothing [500].
  kInvalidArgument = 3,     // The input is wrong whatever the state of the system [400].
  kDeadlineExceeded = 4,    // Time ran out before the end [504].
  kNotFound = 5,            // The thing named does not exist [404].
  kAlreadyExists = 6,       // The thing to be made exists, and is another one [409].
  kPermissionDenied = 7,    // The caller is known and may not do this [403].
  kResourceExhausted = 8,   // A limit or quota is reached, the disk is full [429].
  kFailedPrecondition = 9,  // The system must be changed first; repeating does not help [400].
  kAborted = 10,            // Lost a race; repeat the whole sequence [409].
  kOutOfRange = 11,         // Past the end; may become right later [400].
  kUnimplemented = 12,      // Not known or not supported here [501].
  kInternal = 13,           // Something of ours or of the operating system failed [500].
  kUnavailable = 14,        // Not now; repeat with back-off [503].
  kDataLoss = 15,           // Stored or sent bytes are damaged [500].
  kUnauthenticated = 16,    // No or wrong credentials [401].
};

// The wire name of a code, for example "not_found".
std::string_view errc_name(Errc code);

struct Error {
  Errc code = Errc::kUnknown;
  std::string message;
};

// Called by boost::system::result::value() on an error; value() is for tests only.
[[noreturn]] void throw_exception_from_error(const Error& error, const boost::source_location&);

template <class T>
class [[nodiscard]] Result : public boost::system::result<T, Error> {
 public:
  using boost::system::result<T, Error>::result;
};

template <>
class [[nodiscard]] Result<void> : public boost::system::result<void, Error> {
 public:
  using boost::system::result<void, Error>::result;
};

using Status = Result<void>;

inline Error fail(Errc code, std::string message) { return Error{code, std::move(message)}; }

}  // namespace mh

#define MH_CONCAT_INNER(a, b) a##b
#define MH_CONCAT(a, b) MH_CONCAT_INNER(a, b)
#define MH_TRY_IMPL(name, declaration, leave, ...)      \
  auto name = (__VA_ARGS__);                            \
  if (!name.has_value()) leave std::move(name).error(); \
  declaration = std::move(*name)

// MH_TRY(auto x, f()): x is the value, or the function returns the error.
#define MH_TRY(declaration, ...) \
  MH_TRY_IMPL(MH_CONCAT(mh_result_, __LINE__), declaration, return, __VA_ARGS__)
// In coroutines.
#define MH_CO_TRY(declaration, ...) \
  MH_TRY_IMPL(MH_CONCAT(mh_result_, __LINE__), declaration, co_return, __VA_ARGS__)
// For Result<void>.
#define MH_TRY_VOID(...)                                             \
  do {                                                               \
    auto mh_status = (__VA_ARGS__);                                  \
    if (!mh_status.has_value()) return std::move(mh_status).error(); \
  } while (false)
#define MH_CO_TRY_VOID(...)                                             \
  do {                                                                  \
    auto mh_status = (__VA_ARGS__);                                     \
    if (!mh_status.has_value()) co_return std::move(mh_status).error(); \
  } while (false)
