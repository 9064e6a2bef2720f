#include "tests/sim/network.h"

#include <algorithm>

namespace mh::sim {
namespace {

milliseconds to_ms(double ms) { return milliseconds(static_cast<std::int64_t>(ms)); }

}  // namespace

void Network::heal() {
  is_healed_ = true;
  for (Link& link : links_) link.cut_until = {};
}

bool Network::is_lost(std::uint32_t host) {
  const bool is_unlucky = random_.chance(scenario_.loss);
  return is_cut(host) || (is_unlucky && !is_healed_);
}

milliseconds Network::delay(std::uint32_t host) {
  double ms = links_[host].latency_ms * random_.between(0.8, 1.6);
  if (scenario_.delay_ms > 0 && !is_healed_) ms += random_.exponential(scenario_.delay_ms);
  return to_ms(ms);
}

milliseconds Network::detection(std::uint32_t host) {
  // A reset is seen at once, silence after a while.
  return is_cut(host) ? to_ms(random_.between(1'000, 15'000)) : to_ms(random_.between(10, 500));
}

void Network::break_off(const CallMessage& call) {
  if (call.is_copy) return;
  ReplyMessage lost;
  lost.channel = call.channel;
  lost.call = call.call;
  lost.reply = fail(Errc::kUnavailable, "the connection broke");
  Event event;
  event.kind = EventKind::kReply;
  event.host = call.from.host;
  event.life = call.from.life;
  event.subject = replies.add(std::move(lost));
  events_.schedule_in(detection(call.from.host), event);
}

void Network::send(CallMessage message) {
  const std::uint32_t host = message.from.host;
  const bool is_doubled = random_.chance(scenario_.duplicate) && !is_healed_;
  if (is_lost(host)) return break_off(message);
  Event event;
  event.kind = EventKind::kRequest;
  event.host = host;
  if (is_doubled) {
    CallMessage copy = message;
    copy.is_copy = true;
    event.subject = calls.add(std::move(copy));
    events_.schedule_in(delay(host), event);
  }
  event.subject = calls.add(std::move(message));
  events_.schedule_in(delay(host), event);
}

void Network::answer(const CallMessage& call, Result<client::ExchangeReply> reply) {
  if (call.is_copy) return;
  const std::uint32_t host = call.from.host;
  if (is_lost(host)) return break_off(call);
  ReplyMessage message;
  message.channel = call.channel;
  message.call = call.call;
  message.reply = std::move(reply);
  Event event;
  event.kind = EventKind::kReply;
  event.host = host;
  event.life = call.from.life;
  event.subject = replies.add(std::move(message));
  events_.schedule_in(delay(host), event);
}

void Network::send_attach(AttachMessage message) {
  const HostAddress from = message.from;
  if (is_lost(from.host)) return fail_attach(from);
  Event event;
  event.kind = EventKind::kAttachRequest;
  event.host = from.host;
  event.subject = attaches.add(std::move(message));
  events_.schedule_in(delay(from.host), event);
}

void Network::answer_attach(const HostAddress& to, HostId host) {
  if (is_lost(to.host)) return fail_attach(to);
  Event event;
  event.kind = EventKind::kAttachReply;
  event.host = to.host;
  event.life = to.life;
  event.subject = host.value();
  events_.schedule_in(delay(to.host), event);
}

void Network::fail_attach(const HostAddress& to) {
  Event event;
  event.kind = EventKind::kAttachReply;
  event.host = to.host;
  event.life = to.life;
  event.subject = 0;
  events_.schedule_in(detection(to.host), event);
}

void Network::transfer(const HostAddress& host, EventKind end, std::uint64_t bytes,
                       Transfer transfer) {
  const Link& link = links_[host.host];
  const double rate = end == EventKind::kUploadEnd ? link.up_bytes_per_ms : link.down_bytes_per_ms;
  const milliseconds moving = to_ms(static_cast<double>(bytes) / rate);
  transfer.arrives = !is_lost(host.host);
  Event event;
  event.kind = end;
  event.host = host.host;
  event.life = host.life;
  const bool arrives = transfer.arrives;
  event.subject = transfers.add(std::move(transfer));
  events_.schedule_in(arrives ? delay(host.host) + moving : detection(host.host), event);
}

}  // namespace mh::sim
