#include "meta/ops/common.h"

namespace skerry::meta {

Result<std::string> readlink(const OpContext& ctx, Meta& meta, Ino ino) {
  ReadRequest request;
  request.keys.push_back(symlink_key(ino));
  request.inodes.push_back(ino);
  SKERRY_ASSIGN(ReadResult seen, meta.store().read(ctx, request));
  if (!seen.homes[0]) return Error(ESTALE, "the inode does not exist any more");
  if (seen.homes[0]->attr.type != FileType::kSymlink) return Error(EINVAL, "not a symbolic link");
  if (!seen.records[0]) return Error(EIO, "the symbolic link's target is missing");
  return std::get<SymlinkRecord>(std::move(*seen.records[0])).target;
}

}  // namespace skerry::meta
