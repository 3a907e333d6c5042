// What Patch and WriteData do to attributes, for stores that compute it rather than say it in SQL.
#pragma once

#include "base/result.h"
#include "meta/records.h"
#include "meta/store.h"

namespace skerry::meta {

/// `mode` after a write that drops `clear_mode`, a part of 06000. Set-group-ID without group
/// execution lends nobody anything (it once meant mandatory locking) and stays.
inline uint32_t mode_without(uint32_t mode, uint32_t clear_mode) {
  constexpr uint32_t kSetGroupId = 02000, kGroupExecute = 010;
  if ((mode & kGroupExecute) == 0) clear_mode &= ~kSetGroupId;
  return mode & ~clear_mode;
}

/// True if the xattr kCapabilityXattr goes with `patch`.
inline bool drops_capability(const Patch& patch, const Attributes& attr) {
  return (patch.clear_flags & attr.flags & kFlagCapability) != 0;
}

/// `attr` after `patch`, its version included. Plain values are set before maxima, bits are cleared
/// before others are set.
void apply_patch(const Patch& patch, Attributes* attr);

/// What one WriteData does besides changing the attributes.
struct WrittenData {
  std::vector<ExtentRecord> extents;
  std::vector<ObjectId> extra_references;  // one more reference for each element
  bool drop_inline = false;                // the inline record goes
  bool drop_capability = false;            // the xattr kCapabilityXattr goes
};

/// True if `write` conflicts with a file that has these attributes.
bool write_conflicts(const WriteData& write, const Attributes& attr);
/// Changes `attr` and tells the rest. EFBIG past kMaxFileSize.
Result<WrittenData> apply_write(const WriteData& write, Attributes* attr);

/// Makes an entry as it is stored: one version, and for a linked entry ino and type alone.
void normalize_entry(EntryRecord* entry);

}  // namespace skerry::meta
