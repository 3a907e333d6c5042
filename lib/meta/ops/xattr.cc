#include "meta/ops/acl.h"
#include "meta/ops/common.h"

namespace skerry::meta {

using internal::attributes_of;
using internal::Change;
using internal::Source;

namespace {

enum class Space { kUser, kTrusted, kSecurity };

// xattr(7): the list of names that listxattr(2) returns has at most 64 KiB.
constexpr size_t kMaxListBytes = 65536;

bool strip(std::string_view prefix, std::string_view* name) {
  if (name->substr(0, prefix.size()) != prefix) return false;
  name->remove_prefix(prefix.size());
  return true;
}

Result<Space> space_of(std::string_view name) {
  if (name.empty() || name.size() > kMaxXattrNameBytes) {
    return Error(ERANGE, "an attribute name has 1 to 255 bytes");
  }
  if (name.find('\0') != std::string_view::npos) return Error(EINVAL, "a name with NUL inside");
  Space space;
  if (strip("user.", &name)) {
    space = Space::kUser;
  } else if (strip("trusted.", &name)) {
    space = Space::kTrusted;
  } else if (strip("security.", &name)) {
    space = Space::kSecurity;
  } else {
    return Error(EOPNOTSUPP, "attributes are in user., trusted. or security., or are ACLs");
  }
  if (name.empty()) return Error(EINVAL, "nothing after the attribute's namespace");
  return space;
}

/// False where the attributes tell that there is no xattr but perhaps ACLs.
bool may_have_any(const Meta& meta, const Attributes& attr) {
  return (attr.flags & kFlagXattrs) != 0 || !meta.keeps_file_flags();
}

Status may_write(const OpContext& ctx, Meta& meta, const Attributes& attr, Space space) {
  const Credentials& who = ctx.credentials;
  if ((attr.flags & kInodeFlags) != 0) {
    return Error(EPERM, "the file is immutable or append-only");
  }
  if (space != Space::kUser) {
    return who.is_root() ? Status() : Error(EPERM, "only root sets such attributes");
  }
  if (attr.type != FileType::kRegular && !attr.is_dir()) {
    return Error(EPERM, "user attributes belong to files and directories");
  }
  const bool sticky_dir = attr.is_dir() && (attr.mode & internal::kSticky) != 0;
  if (sticky_dir && !who.is_root() && who.uid != attr.uid) {
    return Error(EPERM, "the sticky directory is not the caller's");
  }
  return check_access(ctx, meta, attr, kWrite);
}

Status may_read(const OpContext& ctx, Meta& meta, const Attributes& attr, Space space) {
  if (space == Space::kSecurity) return {};
  if (space == Space::kTrusted) return ctx.credentials.is_root() ? Status() : Error(ENODATA);
  if (attr.type != FileType::kRegular && !attr.is_dir()) return Error(ENODATA);
  return check_access(ctx, meta, attr, kRead);
}

Patch touched(Meta& meta, Ino ino) {
  Patch patch;
  patch.ino = ino;
  patch.max_ctime_ns = meta.now_ns();
  return patch;
}

/// Commits; `conflict` is the error if the first expectation does not hold.
Status apply(const OpContext& ctx, Meta& meta, Ino ino, Change* change, int conflict) {
  SKERRY_ASSIGN(CommitResult result, change->commit(ctx));
  if (!result.applied) {
    if (result.failed_expectation == 0) return Error(conflict);
    return Error(ESTALE, "the inode does not exist any more");
  }
  meta.cache().forget_attributes(ino);
  return {};
}

}  // namespace

Status set_xattr(const OpContext& ctx, Meta& meta, Ino ino, std::string_view name,
                 std::string_view value, XattrMode mode) {
  // As Linux does, whatever the mode.
  if (auto kind = acl_kind(name)) return internal::set_acl(ctx, meta, ino, *kind, value);
  SKERRY_ASSIGN(Space space, space_of(name));
  if (value.size() > kMaxXattrValueBytes) return Error(E2BIG, "a value of more than 64 KiB");
  SKERRY_ASSIGN(CachedAttributes seen, attributes_of(ctx, meta, ino, Source::kCacheOrStore, false));
  SKERRY_TRY(may_write(ctx, meta, seen.attr, space));
  Change change(meta);
  const Key key = xattr_key(ino, name);
  if (mode == XattrMode::kCreate) change.expect(ExpectAbsent{key});
  if (mode == XattrMode::kReplace) change.expect(ExpectExists{key});
  change.put(XattrRecord{ino, std::string(name), std::string(value)});
  Patch patch = touched(meta, ino);
  patch.set_flags = kFlagXattrs | (name == kCapabilityXattr ? kFlagCapability : 0);
  change.add(std::move(patch));
  return apply(ctx, meta, ino, &change, mode == XattrMode::kCreate ? EEXIST : ENODATA);
}

Result<std::string> get_xattr(const OpContext& ctx, Meta& meta, Ino ino, std::string_view name) {
  if (auto kind = acl_kind(name)) return internal::get_acl(ctx, meta, ino, *kind);
  SKERRY_ASSIGN(Space space, space_of(name));
  SKERRY_ASSIGN(CachedAttributes seen, attributes_of(ctx, meta, ino, Source::kCacheOrStore, false));
  SKERRY_TRY(may_read(ctx, meta, seen.attr, space));
  if (!may_have_any(meta, seen.attr)) return Error(ENODATA);
  ReadRequest request;
  request.keys.push_back(xattr_key(ino, name));
  SKERRY_ASSIGN(ReadResult found, meta.store().read(ctx, request));
  if (!found.records[0]) return Error(ENODATA);
  return std::get<XattrRecord>(std::move(*found.records[0])).value;
}

Result<std::vector<std::string>> list_xattrs(const OpContext& ctx, Meta& meta, Ino ino) {
  SKERRY_ASSIGN(CachedAttributes seen, attributes_of(ctx, meta, ino, Source::kCacheOrStore, false));
  std::vector<std::string> names;
  const bool has_acl = (seen.attr.flags & (kFlagAccessAcl | kFlagDefaultAcl)) != 0;
  if (!has_acl && !may_have_any(meta, seen.attr)) return names;
  size_t bytes = 0;
  Range range;
  range.table = Table::kXattr;
  range.a = ino;
  range.limit = 64;  // values come along
  for (bool more = true; more;) {
    SKERRY_TRY(ctx.check());
    ReadRequest request;
    request.ranges.push_back(range);
    SKERRY_ASSIGN(ReadResult found, meta.store().read(ctx, request));
    for (Record& record : found.pages[0].records) {
      auto& xattr = std::get<XattrRecord>(record);
      range.after = xattr_key(ino, xattr.name);
      std::string_view rest = xattr.name;
      if (strip("trusted.", &rest) && !ctx.credentials.is_root()) continue;
      bytes += xattr.name.size() + 1;
      if (bytes > kMaxListBytes) return Error(E2BIG, "more than 64 KiB of attribute names");
      names.push_back(std::move(xattr.name));
    }
    more = found.pages[0].more;
  }
  return names;
}

Status remove_xattr(const OpContext& ctx, Meta& meta, Ino ino, std::string_view name) {
  if (auto kind = acl_kind(name)) return internal::set_acl(ctx, meta, ino, *kind, {});
  SKERRY_ASSIGN(Space space, space_of(name));
  SKERRY_ASSIGN(CachedAttributes seen, attributes_of(ctx, meta, ino, Source::kCacheOrStore, false));
  SKERRY_TRY(may_write(ctx, meta, seen.attr, space));
  if (!may_have_any(meta, seen.attr)) return Error(ENODATA);
  Change change(meta);
  const Key key = xattr_key(ino, name);
  change.expect(ExpectExists{key});
  change.remove(key);
  Patch patch = touched(meta, ino);
  if (name == kCapabilityXattr) patch.clear_flags = kFlagCapability;
  change.add(std::move(patch));
  return apply(ctx, meta, ino, &change, ENODATA);
}

}  // namespace skerry::meta
