#include "meta/ops/acl.h"
#include "meta/ops/common.h"

namespace skerry::meta {

namespace {

Status check_mode(const Credentials& who, const Attributes& attr, unsigned access) {
  unsigned granted = attr.mode & 7;
  if (who.uid == attr.uid) {
    granted = attr.mode >> 6 & 7;
  } else if (who.in_group(attr.gid)) {
    granted = attr.mode >> 3 & 7;
  }
  if ((access & ~granted) != 0) return Error(EACCES);
  return {};
}

Status check_acl(const OpContext& ctx, Meta& meta, const Attributes& attr, unsigned access) {
  Attributes now = attr;
  SKERRY_ASSIGN(std::shared_ptr<const Acl> acl,
                internal::load_acl(ctx, meta, AclKind::kAccess, &now));
  const Credentials& who = ctx.credentials;
  if (acl == nullptr || who.uid == now.uid) return check_mode(who, now, access);
  if (!acl->grants(who, now, access)) return Error(EACCES);
  return {};
}

}  // namespace

Status check_access(const OpContext& ctx, Meta& meta, const Attributes& attr, unsigned access) {
  if ((access & kWrite) != 0 && (attr.flags & kFlagImmutable) != 0) {
    return Error(EPERM, "the file is immutable");
  }
  const Credentials& who = ctx.credentials;
  if (who.is_root()) {
    // Root may do anything but run a file that nobody may run.
    const bool may_run = attr.is_dir() || (attr.mode & 0111) != 0;
    if ((access & kExecute) != 0 && !may_run) return Error(EACCES);
    return {};
  }
  // To the owner the ACL says what the mode does.
  const bool by_acl = (attr.flags & kFlagAccessAcl) != 0 && who.uid != attr.uid;
  return by_acl ? check_acl(ctx, meta, attr, access) : check_mode(who, attr, access);
}

Status check_delete(const OpContext& ctx, Meta& meta, const Attributes& dir,
                    const Attributes& child) {
  SKERRY_TRY(check_access(ctx, meta, dir, kWrite | kExecute));
  if ((dir.flags & kFlagAppendOnly) != 0) return Error(EPERM, "the directory is append-only");
  const Credentials& who = ctx.credentials;
  const bool sticky = (dir.mode & internal::kSticky) != 0;
  if (sticky && !who.is_root() && who.uid != child.uid && who.uid != dir.uid) {
    return Error(EPERM, "the directory is sticky and neither it nor the file is the caller's");
  }
  if ((child.flags & kInodeFlags) != 0) {
    return Error(EPERM, "the file is immutable or append-only");
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
