#include "meta/acl.h"

#include <algorithm>
#include <cerrno>

#include "base/bytes.h"

namespace skerry::meta {

namespace {

constexpr uint32_t kVersion = 2;
constexpr size_t kEntryBytes = 8;
constexpr uint32_t kNoId = UINT32_MAX;
constexpr std::string_view kAccessName = "system.posix_acl_access";
constexpr std::string_view kDefaultName = "system.posix_acl_default";

bool is_named(uint16_t tag) { return tag == AclEntry::kUser || tag == AclEntry::kGroup; }

bool is_known(uint16_t tag) {
  switch (tag) {
    case AclEntry::kOwner:
    case AclEntry::kUser:
    case AclEntry::kOwningGroup:
    case AclEntry::kGroup:
    case AclEntry::kMask:
    case AclEntry::kOther:
      return true;
    default:
      return false;
  }
}

/// acl_valid(3).
Status check(const std::vector<AclEntry>& entries) {
  uint16_t seen = 0, last = 0;
  for (const AclEntry& entry : entries) {
    if (!is_known(entry.tag)) return Error(EINVAL, "an ACL entry of a type that does not exist");
    if ((entry.access & ~7u) != 0) return Error(EINVAL, "permissions that do not exist in an ACL");
    if (is_named(entry.tag) && entry.id == kNoId) return Error(EINVAL, "an ACL entry for nobody");
    if (entry.tag < last) return Error(EINVAL, "the entries of an ACL are out of order");
    if (entry.tag == last && !is_named(entry.tag)) {
      return Error(EINVAL, "an ACL has an entry twice");
    }
    last = entry.tag;
    seen |= entry.tag;
  }
  constexpr uint16_t kBase = AclEntry::kOwner | AclEntry::kOwningGroup | AclEntry::kOther;
  if ((seen & kBase) != kBase) return Error(EINVAL, "an ACL lacks one of its three base entries");
  const bool named = (seen & (AclEntry::kUser | AclEntry::kGroup)) != 0;
  if (named && (seen & AclEntry::kMask) == 0) return Error(EINVAL, "an ACL lacks its mask");
  return {};
}

/// Each user and each group once.
Status check_names(const std::vector<AclEntry>& entries) {
  std::vector<uint64_t> names;
  for (const AclEntry& entry : entries) {
    if (is_named(entry.tag)) names.push_back(uint64_t{entry.tag} << 32 | entry.id);
  }
  std::sort(names.begin(), names.end());
  if (std::adjacent_find(names.begin(), names.end()) != names.end()) {
    return Error(EINVAL, "an ACL names a user or group twice");
  }
  return {};
}

}  // namespace

std::string_view acl_name(AclKind kind) {
  return kind == AclKind::kAccess ? kAccessName : kDefaultName;
}

uint32_t acl_flag(AclKind kind) {
  return kind == AclKind::kAccess ? kFlagAccessAcl : kFlagDefaultAcl;
}

std::optional<AclKind> acl_kind(std::string_view name) {
  if (name == kAccessName) return AclKind::kAccess;
  if (name == kDefaultName) return AclKind::kDefault;
  return std::nullopt;
}

Result<Acl> Acl::parse(std::string_view encoded) {
  Acl acl;
  if (encoded.empty()) return acl;
  Decoder decoder(encoded);
  const auto version = decoder.fixed<uint32_t>();
  if (!decoder.ok()) return Error(EINVAL, "an ACL that ends too early");
  if (version != kVersion) return Error(EOPNOTSUPP, "an ACL of another version than 2");
  if (decoder.remaining() % kEntryBytes != 0) return Error(EINVAL, "an ACL that ends too early");
  acl.entries_.resize(decoder.remaining() / kEntryBytes);
  for (AclEntry& entry : acl.entries_) {
    entry.tag = decoder.fixed<uint16_t>();
    entry.access = decoder.fixed<uint16_t>();
    entry.id = decoder.fixed<uint32_t>();
    if (!is_named(entry.tag)) entry.id = kNoId;
  }
  if (acl.empty()) return acl;
  SKERRY_TRY(check(acl.entries_));
  SKERRY_TRY(check_names(acl.entries_));
  return acl;
}

std::string Acl::encode() const {
  std::string encoded;
  encoded.reserve(sizeof(uint32_t) + entries_.size() * kEntryBytes);
  Encoder encoder(&encoded);
  encoder.fixed(kVersion);
  for (const AclEntry& entry : entries_) {
    encoder.fixed(entry.tag);
    encoder.fixed(entry.access);
    encoder.fixed(entry.id);
  }
  return encoded;
}

AclEntry* Acl::find(uint16_t tag) {
  for (AclEntry& entry : entries_) {
    if (entry.tag == tag) return &entry;
  }
  return nullptr;
}

AclEntry& Acl::group_class() {
  AclEntry* mask = find(AclEntry::kMask);
  return mask != nullptr ? *mask : *find(AclEntry::kOwningGroup);
}

bool Acl::is_minimal() const {
  return std::none_of(entries_.begin(), entries_.end(), [](const AclEntry& entry) {
    return is_named(entry.tag) || entry.tag == AclEntry::kMask;
  });
}

uint32_t Acl::mode_bits() const {
  const uint32_t group = const_cast<Acl*>(this)->group_class().access;
  return uint32_t{find(AclEntry::kOwner)->access} << 6 | group << 3 |
         find(AclEntry::kOther)->access;
}

void Acl::set_mode_bits(uint32_t mode) {
  find(AclEntry::kOwner)->access = mode >> 6 & 7;
  group_class().access = mode >> 3 & 7;
  find(AclEntry::kOther)->access = mode & 7;
}

uint32_t Acl::inherit(uint32_t mode) {
  set_mode_bits(mode_bits() & mode);
  return mode_bits();
}

bool Acl::grants(const Credentials& who, const Attributes& attr, unsigned access) const {
  const unsigned mask = attr.mode >> 3 & 7;
  const bool masked_out = (access & ~mask) != 0;
  bool in_some_group = false;
  for (const AclEntry& entry : entries_) {
    switch (entry.tag) {
      case AclEntry::kUser:
        if (entry.id == who.uid) return (access & ~entry.access) == 0 && !masked_out;
        break;
      case AclEntry::kOwningGroup:
      case AclEntry::kGroup:
        if (!who.in_group(entry.tag == AclEntry::kGroup ? entry.id : attr.gid)) break;
        // One entry must grant all of it: rights are not added up over groups.
        if ((access & ~entry.access) == 0) return !masked_out;
        in_some_group = true;
        break;
      default:
        break;
    }
  }
  return !in_some_group && (access & ~(attr.mode & 7)) == 0;
}

}  // namespace skerry::meta
