// Rows that belong to the shell and not to the coordinator: who may call, data sets, which request
// made which job. Plain values, as the store reads and writes them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proto/base/clock.h"
#include "proto/base/sha256.h"

namespace mh::server {

// Persistent numbers (database and wire): do not change them.
enum class Role : std::uint8_t { kVolunteer = 1, kResearcher = 2, kAdmin = 3 };

struct AccountRow {
  std::uint64_t id = 0;
  std::string name;
  Role role = Role::kVolunteer;
  TimePoint created{};

  friend bool operator==(const AccountRow&, const AccountRow&) = default;
};

struct TokenRow {
  std::uint64_t id = 0;
  std::uint64_t account_id = 0;
  Digest hash;
  TimePoint created{};
  TimePoint expires{};
  bool is_revoked = false;
  // About: stored with whatever is written next, at most once in some minutes.
  TimePoint last_used{};

  friend bool operator==(const TokenRow&, const TokenRow&) = default;
};

struct InvitationRow {
  std::uint64_t id = 0;
  std::uint64_t account_id = 0;
  Digest hash;
  std::uint32_t use_count = 0;
  std::uint32_t use_count_max = 0;
  TimePoint expires{};
  bool is_revoked = false;

  friend bool operator==(const InvitationRow&, const InvitationRow&) = default;
};

// What proves that a caller is a host; `account_id` is the account it joined.
struct HostSecretRow {
  std::uint64_t host_id = 0;
  std::uint64_t account_id = 0;
  Digest hash;
  bool is_revoked = false;

  friend bool operator==(const HostSecretRow&, const HostSecretRow&) = default;
};

// Something that a holder of a token changed; written once, in the transaction of the change.
struct AuditRow {
  // From 1, without gaps.
  std::uint64_t sequence = 0;
  TimePoint time{};
  std::uint64_t account_id = 0;
  std::uint64_t token_id = 0;
  // "job 3 was paused".
  std::string action;

  friend bool operator==(const AuditRow&, const AuditRow&) = default;
};

struct DatasetRow {
  std::string name;
  Digest manifest;
  // Bytes of all chunks.
  std::uint64_t bytes = 0;
  TimePoint created{};

  friend bool operator==(const DatasetRow&, const DatasetRow&) = default;
};

// The file a job was submitted with, and the caller's request id (empty: none).
struct JobSourceRow {
  std::uint64_t job_id = 0;
  std::string request_id;
  std::string yaml;
  std::string dataset;

  friend bool operator==(const JobSourceRow&, const JobSourceRow&) = default;
};

}  // namespace mh::server
