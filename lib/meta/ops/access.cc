#include "meta/ops/common.h"

namespace skerry::meta {

Status check_access(const Credentials& who, const Attributes& attr, unsigned access) {
  if (who.is_root()) {
    // Root may do anything but run a file that nobody may run.
    const bool may_run = attr.is_dir() || (attr.mode & 0111) != 0;
    if ((access & kExecute) != 0 && !may_run) return Error(EACCES);
    return {};
  }
  unsigned granted = attr.mode & 7;
  if (who.uid == attr.uid) {
    granted = attr.mode >> 6 & 7;
  } else if (who.in_group(attr.gid)) {
    granted = attr.mode >> 3 & 7;
  }
  if ((access & ~granted) != 0) return Error(EACCES);
  return {};
}

Status check_delete(const Credentials& who, const Attributes& dir, const Attributes& child) {
  SKERRY_TRY(check_access(who, dir, kWrite | kExecute));
  const bool sticky = (dir.mode & internal::kSticky) != 0;
  if (sticky && !who.is_root() && who.uid != child.uid && who.uid != dir.uid) {
    return Error(EPERM, "the directory is sticky and neither it nor the file is the caller's");
  }
  return {};
}

Status check_name(std::string_view name) {
  if (name.empty() || name == "." || name == "..") return Error(EINVAL, "not a name");
  if (name.size() > kMaxNameBytes) return Error(ENAMETOOLONG, "a name of more than 255 bytes");
  for (char c : name) {
    if (c == '/' || c == '\0') return Error(EINVAL, "a name with a slash or NUL inside");
  }
  return {};
}

}  // namespace skerry::meta
