// What a client tells the others of its commits: the payload of a notification.
//
// A payload is base64, because PostgreSQL wants text without NUL below 8,000 bytes, of
//   a byte 1 (the format), the sender's id in 8 bytes, and keys, each of which is
//   a byte ChangeKind, an inode number as LEB128 and, of entries, a byte of length and the name.
// A reader that does not understand a payload takes it for kEverything.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "meta/store.h"

namespace skerry::meta::postgres {

enum class ChangeKind : uint8_t {
  kEntry = 1,       // the name `name` in `ino`
  kInode = 2,       // attributes or data
  kChildren = 3,    // of a directory: its times and link count
  kLocks = 4,       // file locks, perhaps given up
  kEverything = 5,  // more than was worth listing
};

/// The keys of what a commit may have changed that others cache or wait for. `outcomes`: empty
/// where its answer was lost.
std::vector<std::string> changes_of(const CommitRequest& request,
                                    const std::vector<MutationOutcome>& outcomes = {});
std::string change_key(ChangeKind kind, Ino ino, std::string_view name = {});

/// Payloads that carry all `keys`; without any, one that carries none.
std::vector<std::string> change_payloads(uint64_t sender, const std::vector<std::string>& keys);

/// Tells `sink` (may be null) what a payload says, unless `own` has sent it. Returns its sender; 0
/// for a payload that was not understood.
uint64_t read_payload(std::string_view payload, uint64_t own, ChangeSink* sink);

}  // namespace skerry::meta::postgres
