// `manyhands dataset import`, and how a data set is shown.
#pragma once

#include <string>

#include "client/cli/verb.h"
#include "manyhands/v1/dataset.pb.h"

namespace mh::cli {

Verb dataset_import_verb();

/// What `dataset show` prints.
std::string dataset_text(const manyhands::v1::Dataset& dataset);

}  // namespace mh::cli
