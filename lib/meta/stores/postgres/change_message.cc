#include "meta/stores/postgres/change_message.h"

#include <algorithm>
#include <array>
#include <optional>

namespace skerry::meta::postgres {

namespace {

constexpr char kFormat = 1;
constexpr size_t kSenderBytes = 8;
constexpr size_t kMaxPayload = 7996;  // PostgreSQL takes less than 8,000
constexpr size_t kMaxBinary = kMaxPayload / 4 * 3;
constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string base64(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t at = 0; at < bytes.size(); at += 3) {
    uint32_t group = 0;
    const size_t count = std::min<size_t>(3, bytes.size() - at);
    for (size_t i = 0; i < 3; ++i) {
      group = group << 8 | (i < count ? static_cast<uint8_t>(bytes[at + i]) : 0);
    }
    for (size_t i = 0; i <= count; ++i) text += kDigits[group >> (18 - 6 * i) & 63];
  }
  return text;  // without padding
}

std::optional<std::string> from_base64(std::string_view text) {
  static constexpr auto kValues = [] {
    std::array<int8_t, 256> values{};
    values.fill(-1);
    for (int8_t i = 0; i < 64; ++i) values[static_cast<uint8_t>(kDigits[i])] = i;
    return values;
  }();
  if (text.size() % 4 == 1) return std::nullopt;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  uint32_t group = 0;
  unsigned bits = 0;
  for (char c : text) {
    const int8_t value = kValues[static_cast<uint8_t>(c)];
    if (value < 0) return std::nullopt;
    group = group << 6 | static_cast<uint32_t>(value);
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes += static_cast<char>(group >> bits & 0xff);
  }
  return bytes;
}

bool take_number(std::string_view* bytes, uint64_t* number) {
  *number = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (bytes->empty()) return false;
    const auto byte = static_cast<uint8_t>(bytes->front());
    bytes->remove_prefix(1);
    *number |= uint64_t{byte & 0x7fu} << shift;
    if ((byte & 0x80) == 0) return true;
  }
  return false;
}

/// False if it is malformed.
bool take_key(std::string_view* bytes, ChangeSink& sink) {
  const auto kind = static_cast<ChangeKind>(bytes->front());
  bytes->remove_prefix(1);
  uint64_t ino = 0;
  if (!take_number(bytes, &ino)) return false;
  switch (kind) {
    case ChangeKind::kEntry: {
      if (bytes->empty()) return false;
      const size_t length = static_cast<uint8_t>(bytes->front());
      if (bytes->size() < 1 + length) return false;
      sink.entry_changed(ino, bytes->substr(1, length));
      bytes->remove_prefix(1 + length);
      return true;
    }
    case ChangeKind::kInode:
      sink.inode_changed(ino);
      return true;
    case ChangeKind::kChildren:
      sink.children_changed(ino);
      return true;
    case ChangeKind::kLocks:
      return true;
    case ChangeKind::kEverything:
      sink.all_changed();
      return true;
  }
  return false;
}

class Collector {
 public:
  Collector(const CommitRequest& request, const std::vector<MutationOutcome>& outcomes)
      : request_(request), outcomes_(outcomes) {}

  std::vector<std::string> collect() {
    for (const Mutation& m : request_.mutations) {
      std::visit([this](const auto& x) { take(x); }, m);
      ++mutation_;
    }
    return std::move(keys_);
  }

 private:
  void add(ChangeKind kind, Ino ino, std::string_view name = {}) {
    keys_.push_back(change_key(kind, ino, name));
  }

  void take(const Put& m) {
    if (const auto* entry = std::get_if<EntryRecord>(&m.record)) {
      add(ChangeKind::kEntry, entry->parent, entry->name);
      // A new one: nobody knows its inode.
      if (entry->version > 1 || entry->linked) add(ChangeKind::kInode, entry->attr.ino);
      add_inode_of(entry_key(entry->parent, entry->name));  // that it replaces
    } else if (const auto* inode = std::get_if<InodeRecord>(&m.record)) {
      add(ChangeKind::kInode, inode->attr.ino);
    } else if (const auto* orphan = std::get_if<OrphanRecord>(&m.record)) {
      if (orphan->attr.version > 1) add(ChangeKind::kInode, orphan->attr.ino);
    } else if (const auto* locked = std::get_if<LockedRecord>(&m.record)) {
      add(ChangeKind::kLocks, locked->ino);
    } else if (const auto* lock = std::get_if<LockRecord>(&m.record)) {
      add(ChangeKind::kLocks, lock->ino);
    }
  }
  void take(const Delete& m) {
    switch (m.key.table) {
      case Table::kEntry:
        add(ChangeKind::kEntry, m.key.a, m.key.name);
        add_inode_of(m.key);
        break;
      case Table::kInode:
      case Table::kOrphan:
        add(ChangeKind::kInode, m.key.a);
        break;
      case Table::kLock:
        add(ChangeKind::kLocks, m.key.b);
        break;
      case Table::kLocked:
        add(ChangeKind::kLocks, m.key.a);
        break;
      case Table::kClient:  // and its locks with it
        add(ChangeKind::kLocks, 0);
        break;
      default:
        break;
    }
  }
  void take(const DeleteRange& m) {
    if (m.table == Table::kDirStat) add(ChangeKind::kInode, m.a);
  }
  void take(const Patch& m) {
    // An access time alone: not worth others' asking anew.
    if (!m.keep_version) add(ChangeKind::kInode, m.ino);
  }
  void take(const WriteData& m) { add(ChangeKind::kInode, m.ino); }
  void take(const AddDirStat& m) { add(ChangeKind::kChildren, m.ino); }
  void take(const AddObjectReferences&) {}
  void take(const AddUsage&) {}
  void take(const AddNumber&) {}
  void take(const MoveFile& m) {
    add(ChangeKind::kEntry, m.from.a, m.from.name);
    if (m.to) add(ChangeKind::kEntry, m.to->a, m.to->name);
    if (outcomes_.size() <= mutation_) return add(ChangeKind::kEverything, 0);
    const MutationOutcome& told = outcomes_[mutation_];
    if (told.moved) add(ChangeKind::kInode, told.moved->ino);
    if (told.number != 0) add(ChangeKind::kInode, told.number);
  }

  /// Whoever removes or replaces an entry expects which inode it leads to.
  void add_inode_of(const Key& entry) {
    for (const Expectation& e : request_.expectations) {
      const auto* version = std::get_if<ExpectVersion>(&e);
      if (version == nullptr || version->ino == 0 || version->key != entry) continue;
      add(ChangeKind::kInode, version->ino);
      return;
    }
  }

  const CommitRequest& request_;
  const std::vector<MutationOutcome>& outcomes_;
  size_t mutation_ = 0;
  std::vector<std::string> keys_;
};

}  // namespace

std::string change_key(ChangeKind kind, Ino ino, std::string_view name) {
  std::string key(1, static_cast<char>(kind));
  for (; ino >= 0x80; ino >>= 7) key += static_cast<char>(ino | 0x80);
  key += static_cast<char>(ino);
  if (kind == ChangeKind::kEntry) {
    key += static_cast<char>(name.size());  // at most kMaxNameBytes
    key += name;
  }
  return key;
}

std::vector<std::string> changes_of(const CommitRequest& request,
                                    const std::vector<MutationOutcome>& outcomes) {
  return Collector(request, outcomes).collect();
}

std::vector<std::string> change_payloads(uint64_t sender, const std::vector<std::string>& keys) {
  std::string head(1, kFormat);
  for (size_t i = 0; i < kSenderBytes; ++i) head += static_cast<char>(sender >> (8 * i));
  std::vector<std::string> payloads;
  std::string bytes = head;
  for (const std::string& key : keys) {
    if (bytes.size() + key.size() > kMaxBinary) {
      payloads.push_back(base64(bytes));
      bytes = head;
    }
    bytes += key;
  }
  payloads.push_back(base64(bytes));
  return payloads;
}

uint64_t read_payload(std::string_view payload, uint64_t own, ChangeSink* sink) {
  const std::optional<std::string> decoded = from_base64(payload);
  if (decoded && decoded->size() > kSenderBytes && decoded->front() == kFormat) {
    std::string_view rest = *decoded;
    rest.remove_prefix(1);
    uint64_t sender = 0;
    for (size_t i = 0; i < kSenderBytes; ++i) {
      sender |= uint64_t{static_cast<uint8_t>(rest[i])} << (8 * i);
    }
    rest.remove_prefix(kSenderBytes);
    if (sender == own || sink == nullptr) return sender;
    bool understood = true;
    while (understood && !rest.empty()) understood = take_key(&rest, *sink);
    if (understood) return sender;
  }
  if (sink != nullptr) sink->all_changed();
  return 0;
}

}  // namespace skerry::meta::postgres
