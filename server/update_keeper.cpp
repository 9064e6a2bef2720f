// See update_keeper.h.
#include "server/update_keeper.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "proto/base/log.h"

namespace mh::server {
namespace {

void make_durable(BlobStore& blobs, const Digest& update) {
  const auto done = blobs.make_durable(update);
  // Not found: its record has let go of it meanwhile.
  if (done || done.error().code == Errc::kNotFound) return;
  log_warn("an update that is kept for audits may be lost by a power failure",
           {{"blob", update.hex()}, {"error", done.error().message}});
}

}  // namespace

UpdateKeeper::~UpdateKeeper() {
  stop();
  pool_.stop();
  pool_.join();
}

void UpdateKeeper::keep(std::vector<Digest> updates) {
  if (updates.empty() || is_stopping_) return;
  waiting_.push_back({std::chrono::steady_clock::now() + kPause, std::move(updates)});
  wait();
}

void UpdateKeeper::stop() {
  is_stopping_ = true;
  timer_.cancel();
}

void UpdateKeeper::wait() {
  if (is_waiting_ || waiting_.empty()) return;
  is_waiting_ = true;
  timer_.expires_at(waiting_.front().due);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (error || is_stopping_) return;
    is_waiting_ = false;
    write_due();
    wait();
  });
}

void UpdateKeeper::write_due() {
  std::vector<Digest> updates;
  const auto now = std::chrono::steady_clock::now();
  while (!waiting_.empty() && waiting_.front().due <= now) {
    std::vector<Digest>& batch = waiting_.front().updates;
    std::copy_if(batch.begin(), batch.end(), std::back_inserter(updates), is_needed_);
    waiting_.pop_front();
  }
  if (updates.empty()) return;
  asio::post(pool_, [&blobs = blobs_, updates = std::move(updates)] {
    for (const Digest& update : updates) {
      if (blobs.is_fresh(update)) make_durable(blobs, update);
    }
  });
}

}  // namespace mh::server
