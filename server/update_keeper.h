// Makes the updates that a step's record keeps safe from a power failure, when nobody waits for the
// disk: some seconds after the step. Until then they are fresh blobs (server/blob_store.h).
//
// *Rationale:* a step is published without waiting for its updates (server/commit_queue.h), and
// where steps take milliseconds its record lets go of them before the disk had to write one. What a
// power failure takes is found missing at the next start, and given up
// (Coordinator::give_up_retained): no step depends on it.
// Threads: the state strand; the disk is asked on a thread of its own, one blob at a time.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <vector>

#include "server/blob_store.h"

namespace mh::server {

namespace asio = boost::asio;

class UpdateKeeper {
 public:
  static constexpr std::chrono::seconds kPause{5};

  // `is_needed` is asked on the strand; all must outlive this.
  UpdateKeeper(BlobStore& blobs, asio::any_io_executor strand,
               std::function<bool(const Digest&)> is_needed)
      : blobs_(blobs), is_needed_(std::move(is_needed)), timer_(strand), pool_(1) {}
  // Waits for the blob under way.
  ~UpdateKeeper();

  // Updates of a step that was taken just now.
  void keep(std::vector<Digest> updates);
  // Begins nothing more.
  void stop();

 private:
  struct Batch {
    std::chrono::steady_clock::time_point due;
    std::vector<Digest> updates;
  };
  void wait();
  void write_due();

  BlobStore& blobs_;
  const std::function<bool(const Digest&)> is_needed_;
  std::deque<Batch> waiting_;
  bool is_waiting_ = false;
  bool is_stopping_ = false;
  asio::steady_timer timer_;
  asio::thread_pool pool_;
};

}  // namespace mh::server
