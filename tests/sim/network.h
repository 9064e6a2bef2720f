// The links between hosts and the server: latency, bandwidth, loss, extra delay (which reorders),
// duplication, partitions. Carries values, draws their fate, schedules their arrival. Every call
// gets exactly one answer or error at its client; a copy of a request gets none.
// No threads.
#pragma once

#include <cstdint>
#include <vector>

#include "client/daemon/host_types.h"
#include "scheduler/events.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/random.h"
#include "tests/sim/scenario.h"
#include "tests/sim/slab.h"

namespace mh::sim {

// Which host, and which run of its client.
struct HostAddress {
  std::uint32_t host = 0;
  std::uint32_t life = 0;
};

// A call of Exchange on its way to the server.
struct CallMessage {
  HostAddress from;
  client::Channel channel = client::Channel::kPoll;
  // Of this client, so that a late answer is told from a present one.
  std::uint64_t call = 0;
  scheduler::ExchangeEvent event;
  std::chrono::milliseconds hold{0};
  // Came twice: nobody waits for its answer.
  bool is_copy = false;
};

struct AttachMessage {
  HostAddress from;
  scheduler::HostDescription description;
};

// An answer on its way to a client.
struct ReplyMessage {
  client::Channel channel = client::Channel::kPoll;
  std::uint64_t call = 0;
  Result<client::ExchangeReply> reply{client::ExchangeReply{}};
};

// The end of a download or upload.
struct Transfer {
  Digest blob;
  client::BlobKind kind = client::BlobKind::kChunk;
  ResultId result;
  bool is_wrong = false;
  // The bytes are on their way; false: it failed before.
  bool arrives = true;
};

struct Link {
  double latency_ms = 0;
  double up_bytes_per_ms = 0;
  double down_bytes_per_ms = 0;
  TimePoint cut_until{};
};

class Network {
 public:
  Network(const Scenario& scenario, EventQueue& events, std::uint64_t seed)
      : scenario_(scenario), events_(events), random_(seed, Purpose::kNetwork) {}

  void add_link(const Link& link) { links_.push_back(link); }
  void cut(std::uint32_t host, TimePoint until) { links_[host].cut_until = until; }
  // From now on nothing is lost, delayed or doubled, and no host is cut off.
  void heal();

  void send(CallMessage message);
  void send_attach(AttachMessage message);
  // To the client that `call` came from; an error when the connection broke.
  void answer(const CallMessage& call, Result<client::ExchangeReply> reply);
  void answer_attach(const HostAddress& to, HostId host);
  // An attach that failed; the client tries again.
  void fail_attach(const HostAddress& to);
  // Moves bytes either way; ends with `end` at the host.
  void transfer(const HostAddress& host, EventKind end, std::uint64_t bytes, Transfer transfer);

  // Taken by the receiver of the event.
  Slab<CallMessage> calls;
  Slab<AttachMessage> attaches;
  Slab<ReplyMessage> replies;
  Slab<Transfer> transfers;

 private:
  bool is_cut(std::uint32_t host) const { return links_[host].cut_until > events_.now(); }
  bool is_lost(std::uint32_t host);
  std::chrono::milliseconds delay(std::uint32_t host);
  // How long a client takes to see that a message was lost.
  std::chrono::milliseconds detection(std::uint32_t host);
  void break_off(const CallMessage& call);

  const Scenario& scenario_;
  EventQueue& events_;
  Random random_;
  std::vector<Link> links_;
  bool is_healed_ = false;
};

}  // namespace mh::sim
