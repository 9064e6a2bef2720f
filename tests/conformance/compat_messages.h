// What both programs under test share: the runner's messages on stdin and stdout (four bytes of
// length, big-endian, then a message), and headers, details and codes in the suite's own types.
#pragma once

#include <connectrpc/conformance/v1/service.pb.h>
#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "proto/base/result.h"
#include "proto/net/connect_core.h"
#include "proto/net/message.h"

namespace mh::net {

namespace conformance = connectrpc::conformance::v1;
using HeaderList = google::protobuf::RepeatedPtrField<conformance::Header>;

/// Reads a message from stdin. False: the input has ended. Errors: kDataLoss.
Result<bool> read_compat_message(Message& message);
/// Errors: kInternal.
Status write_compat_message(const Message& message);

/// One entry a name, with all its values: the runner looks at the last entry only.
HeaderList grouped(const Headers& headers);
/// One field a value.
Headers flattened(const HeaderList& headers);

ErrorDetail to_detail(const google::protobuf::Any& any);
google::protobuf::Any to_any(const ErrorDetail& detail);

}  // namespace mh::net
