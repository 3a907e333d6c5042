#include "meta/attribute_changes.h"

#include <algorithm>

namespace skerry::meta {

Attributes moved_file(Attributes attr, TimeNs ctime_ns, bool orphaned) {
  if (orphaned) attr.nlink -= 1;
  attr.ctime_ns = ctime_ns;
  attr.version += 1;
  return attr;
}

void apply_patch(const Patch& patch, Attributes* attr) {
  if (patch.mode) attr->mode = *patch.mode;
  if (patch.uid) attr->uid = *patch.uid;
  if (patch.gid) attr->gid = *patch.gid;
  if (patch.length) attr->length = *patch.length;
  if (patch.atime_ns) attr->atime_ns = *patch.atime_ns;
  if (patch.mtime_ns) attr->mtime_ns = *patch.mtime_ns;
  if (patch.ctime_ns) attr->ctime_ns = *patch.ctime_ns;
  attr->length = std::max(attr->length, patch.max_length);
  attr->mtime_ns = std::max(attr->mtime_ns, patch.max_mtime_ns);
  attr->ctime_ns = std::max(attr->ctime_ns, patch.max_ctime_ns);
  attr->atime_ns = std::max(attr->atime_ns, patch.max_atime_ns);
  attr->mode = mode_without(attr->mode, patch.clear_mode);
  attr->flags = (attr->flags & ~patch.clear_flags) | patch.set_flags;
  attr->nlink += static_cast<uint32_t>(patch.add_nlink);
  if (!patch.keep_version) attr->version += 1;
}

bool write_conflicts(const WriteData& write, const Attributes& attr) {
  return (attr.flags & kFlagInline) != 0 && !write.replace_inline;
}

Result<WrittenData> apply_write(const WriteData& write, Attributes* attr) {
  const uint64_t base = write.append ? attr->length : write.offset;
  if (base > kMaxFileSize || write.length > kMaxFileSize - base) {
    return Error(EFBIG, "write would make the file larger than 2^57 bytes");
  }
  WrittenData written;
  written.drop_inline = (attr->flags & kFlagInline) != 0;
  written.drop_capability = (attr->flags & kFlagCapability) != 0;
  attr->flags &= ~(kFlagInline | kFlagCapability);
  attr->version += 1;
  if (write.extend) attr->length = std::max(attr->length, base + write.length);
  attr->mtime_ns = std::max(attr->mtime_ns, write.mtime_ns);
  attr->ctime_ns = std::max(attr->ctime_ns, write.mtime_ns);
  attr->mode = mode_without(attr->mode, write.clear_mode);
  written.extents =
      place_extents(attr->ino, attr->version, base, write.pieces, &written.extra_references);
  return written;
}

void normalize_entry(EntryRecord* entry) {
  if (entry->linked) {
    Attributes bare;
    bare.ino = entry->attr.ino;
    bare.type = entry->attr.type;
    entry->attr = bare;
  }
  entry->attr.version = entry->version;
}

}  // namespace skerry::meta
