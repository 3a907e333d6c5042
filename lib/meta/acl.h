// POSIX access control lists: acl(5), after the draft 17 of POSIX.1e, in the binary form in which
// Linux's attributes system.posix_acl_access and system.posix_acl_default carry them (version 2).
//
// An ACL is kept as an extended attribute, and a bit of Attributes::flags says that there is one,
// so that a file without pays nothing. An access ACL that says no more than the mode is not kept.
// Of one that is, the entries of the owner, the mask and the others count in the mode alone: what
// the record holds there is what they were when it was set. So chmod(2) changes an ACL's mask
// without reading or writing the ACL, and the two can never disagree.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "io/op_context.h"
#include "meta/records.h"

namespace skerry::meta {

enum class AclKind : uint8_t { kAccess, kDefault };

/// The attribute a kind is kept as, and the bit that says there is one.
std::string_view acl_name(AclKind kind);
uint32_t acl_flag(AclKind kind);
/// The kind that an attribute's name means; none for other attributes.
std::optional<AclKind> acl_kind(std::string_view name);

struct AclEntry {
  // Values of Linux's binary form; an ACL lists them in this order.
  static constexpr uint16_t kOwner = 0x01;
  static constexpr uint16_t kUser = 0x02;
  static constexpr uint16_t kOwningGroup = 0x04;
  static constexpr uint16_t kGroup = 0x08;
  static constexpr uint16_t kMask = 0x10;
  static constexpr uint16_t kOther = 0x20;

  uint16_t tag = 0;
  uint16_t access = 0;  // meta::Access
  uint32_t id = 0;      // of kUser and kGroup
  friend bool operator==(const AclEntry&, const AclEntry&) = default;
};

class Acl {
 public:
  /// EINVAL for what is no valid ACL, EOPNOTSUPP for another version of the binary form. Without
  /// entries: "no ACL", as for setxattr(2).
  static Result<Acl> parse(std::string_view encoded);
  std::string encode() const;

  bool empty() const { return entries_.empty(); }
  const std::vector<AclEntry>& entries() const { return entries_; }
  /// True if the nine permission bits of a mode say the same.
  bool is_minimal() const;
  /// The permission bits (0777) that go with it: owner, mask (or group where there is none),
  /// others.
  uint32_t mode_bits() const;
  /// Makes those three entries follow a mode.
  void set_mode_bits(uint32_t mode);
  /// Narrows it, as a directory's default ACL, to what the maker of a file asked for, and returns
  /// the permission bits of that file.
  uint32_t inherit(uint32_t mode);

  /// True if it grants `access` (meta::Access) to who is neither root nor the owner. `attr`: of the
  /// file whose access ACL this is.
  bool grants(const Credentials& who, const Attributes& attr, unsigned access) const;

 private:
  AclEntry* find(uint16_t tag);
  const AclEntry* find(uint16_t tag) const { return const_cast<Acl*>(this)->find(tag); }
  AclEntry& group_class();

  std::vector<AclEntry> entries_;
};

}  // namespace skerry::meta
