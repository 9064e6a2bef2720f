// What both sides of the Connect protocol share: error bodies, codes and statuses, a guard before
// protobuf's JSON parser. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/result.h"
#include "proto/net/connect_core.h"

namespace mh::net {

/// HTTP status of a code.
int status_of(Errc code);
/// The code for a status that came without a Connect error (from a proxy, say).
Errc code_of_status(int status);
/// The code with this wire name.
std::optional<Errc> code_of_name(std::string_view name);

/// {"code":…,"message":…,"details":[…]}
std::string error_body(const Error& error, const std::vector<ErrorDetail>& details);
/// The error in a body; nothing if it is not one. `otherwise`: the code where the body names none
/// that is known.
std::optional<Error> parse_error_body(std::string_view body, Errc otherwise,
                                      std::vector<ErrorDetail>* details);

/// Deepest nesting of brackets outside strings; does not parse.
int nesting_of(std::string_view json);

/// Parses a message. Errors: kInvalidArgument.
Status parse_proto(std::string_view bytes, Message& message);
Status parse_json(std::string_view text, Message& message);
/// Errors: kInternal.
Result<std::string> serialise(const Message& message, Codec codec);

}  // namespace mh::net
