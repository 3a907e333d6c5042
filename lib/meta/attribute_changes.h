// What Patch and WriteData do to attributes, for stores that compute it rather than say it in SQL.
#pragma once

#include "base/result.h"
#include "io/op_context.h"
#include "meta/records.h"
#include "meta/store.h"

namespace skerry::meta {

/// Part of a `clear_mode`, and of no mode: the writer is not in the file's group.
inline constexpr uint32_t kClearForOutsider = 010000;

/// What a write by `writer` takes from the mode of a file of the group `gid` (write(2)).
inline uint32_t clear_mode_of(const Credentials& writer, uint32_t gid) {
  if (writer.is_root()) return 0;
  return writer.in_group(gid) ? 06000 : 06000 | kClearForOutsider;
}

/// `mode` after a write that drops `clear_mode`. Set-group-ID without group execution lends nobody
/// anything (it once meant mandatory locking): only a writer from outside the group takes it away,
/// as in Linux since 6.2.
inline uint32_t mode_without(uint32_t mode, uint32_t clear_mode) {
  constexpr uint32_t kSetGroupId = 02000, kGroupExecute = 010;
  if ((mode & kGroupExecute) == 0 && (clear_mode & kClearForOutsider) == 0) {
    clear_mode &= ~kSetGroupId;
  }
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

/// True if MoveFile moves the file of this entry, as stored.
inline bool is_movable(const EntryRecord& entry) {
  return !entry.linked && entry.attr.type == FileType::kRegular &&
         (entry.attr.flags & kInodeFlags) == 0;
}
/// What MoveFile makes of it; `orphaned`: it loses its name.
Attributes moved_file(Attributes attr, TimeNs ctime_ns, bool orphaned);

/// Makes an entry as it is stored: one version, and for a linked entry ino and type alone.
void normalize_entry(EntryRecord* entry);

}  // namespace skerry::meta
