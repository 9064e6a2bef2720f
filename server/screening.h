// The first rung of validation: is a reported update there, of the right size and layout, with
// finite numbers? Looked at on the pool before the coordinator hears of the report.
// Threads: the state strand; reads files on the pool.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "scheduler/events.h"
#include "server/core.h"

namespace mh::server {

// Returns the event with `screening` filled in for every report of an update.
asio::awaitable<scheduler::ExchangeEvent> screen_reports(Core& core,
                                                         scheduler::ExchangeEvent event);

}  // namespace mh::server
