#include "meta/ops/acl.h"

#include <utility>

#include "meta/acl_cache.h"

namespace skerry::meta::internal {

Result<std::shared_ptr<const Acl>> load_acl(const OpContext& ctx, Meta& meta, AclKind kind,
                                            Attributes* attr) {
  const std::shared_ptr<const Acl> none;
  if ((attr->flags & acl_flag(kind)) == 0) return none;
  if (auto known = meta.acls().find(attr->ino, kind, attr->version)) return known;
  ReadRequest request;
  request.inodes.push_back(attr->ino);
  request.keys.push_back(xattr_key(attr->ino, acl_name(kind)));
  SKERRY_ASSIGN(ReadResult seen, meta.store().read(ctx, request));
  if (!seen.homes[0]) return Error(ESTALE, "the inode does not exist any more");
  *attr = seen.homes[0]->attr;
  if ((attr->flags & acl_flag(kind)) == 0) return none;
  if (!seen.records[0]) return Error(EIO, "the ACL of a file is missing");
  Result<Acl> parsed = Acl::parse(std::get<XattrRecord>(*seen.records[0]).value);
  if (!parsed.ok() || parsed->empty()) return Error(EIO, "the ACL of a file is malformed");
  auto acl = std::make_shared<const Acl>(std::move(parsed).value());
  meta.acls().insert(attr->ino, kind, attr->version, acl);
  return std::shared_ptr<const Acl>(std::move(acl));
}

void inherit_acls(const std::shared_ptr<const Acl>& inherited, Meta& meta, Attributes* attr,
                  Change* change) {
  // Inode numbers are new, so what the cache is told early is not wrong if the commit fails.
  auto give = [&](AclKind kind, std::shared_ptr<const Acl> acl) {
    attr->flags |= acl_flag(kind);
    change->put(XattrRecord{attr->ino, std::string(acl_name(kind)), acl->encode()});
    meta.acls().insert(attr->ino, kind, attr->version, std::move(acl));
  };
  Acl access = *inherited;
  attr->mode = (attr->mode & ~0777u) | access.inherit(attr->mode);
  if (!access.is_minimal()) give(AclKind::kAccess, std::make_shared<const Acl>(std::move(access)));
  if (attr->is_dir()) give(AclKind::kDefault, inherited);
}

namespace {

Status may_set(const OpContext& ctx, const Attributes& attr, AclKind kind, const Acl& acl) {
  if (attr.type == FileType::kSymlink) return Error(EOPNOTSUPP, "symbolic links have no ACLs");
  if (kind == AclKind::kDefault && !attr.is_dir() && !acl.empty()) {
    return Error(EACCES, "only directories have a default ACL");
  }
  if ((attr.flags & kInodeFlags) != 0) {
    return Error(EPERM, "the file is immutable or append-only");
  }
  if (!ctx.credentials.is_root() && ctx.credentials.uid != attr.uid) {
    return Error(EPERM, "only the owner or root may set an ACL");
  }
  return {};
}

/// The attributes once `acl` is the inode's; a mode that says it all takes an access ACL's place.
Attributes attributes_with(const Credentials& who, const Attributes& attr, AclKind kind,
                           const Acl& acl, TimeNs now) {
  Attributes after = attr;
  after.flags &= ~acl_flag(kind);
  if (!acl.empty()) {
    if (kind == AclKind::kDefault || !acl.is_minimal()) after.flags |= acl_flag(kind);
    if (kind == AclKind::kAccess) {
      after.mode = (attr.mode & ~0777u) | acl.mode_bits();
      // As chmod(2), which this is: CVE-2016-7097.
      if (!who.is_root() && !who.in_group(attr.gid)) after.mode &= ~kSetGroupId;
    }
  }
  after.ctime_ns = now;
  after.version += 1;
  return after;
}

}  // namespace

Status set_acl(const OpContext& ctx, Meta& meta, Ino ino, AclKind kind, std::string_view encoded) {
  SKERRY_ASSIGN(Acl parsed, Acl::parse(encoded));
  const auto acl = std::make_shared<const Acl>(std::move(parsed));
  const uint32_t flag = acl_flag(kind);
  for (Attempts attempts(ctx, meta);;) {
    SKERRY_TRY(attempts.next());
    const MetadataCache::Ticket ticket = meta.ticket();
    SKERRY_ASSIGN(CachedAttributes seen, attributes_of(ctx, meta, ino, attempts.source(), true));
    const Attributes& attr = seen.attr;
    SKERRY_TRY(may_set(ctx, attr, kind, *acl));
    if (acl->empty() && (attr.flags & flag) == 0) {
      // Told without a commit, so not on the word of the cache.
      if (!meta.exact() && attempts.source() == Source::kCacheOrStore) continue;
      return {};
    }
    const Attributes after = attributes_with(ctx.credentials, attr, kind, *acl, meta.now_ns());
    const bool kept = (after.flags & flag) != 0;
    Patch patch;
    patch.ino = ino;
    if (after.mode != attr.mode) patch.mode = after.mode;
    (kept ? patch.set_flags : patch.clear_flags) = flag;
    patch.ctime_ns = after.ctime_ns;
    Change change(meta);
    change.expect(ExpectAttributes{ino, attr.version});
    if (kept) {
      change.put(XattrRecord{ino, std::string(acl_name(kind)), acl->encode()});
    } else if ((attr.flags & flag) != 0) {
      change.remove(xattr_key(ino, acl_name(kind)));
    }
    change.add(std::move(patch));
    SKERRY_ASSIGN(CommitResult result, change.commit(ctx));
    if (!result.applied) continue;
    meta.cache().publish_attributes(ticket, {after, seen.parent, seen.linked});
    if (kept) meta.acls().insert(ino, kind, after.version, acl);
    return {};
  }
}

Result<std::string> get_acl(const OpContext& ctx, Meta& meta, Ino ino, AclKind kind) {
  SKERRY_ASSIGN(CachedAttributes seen, attributes_of(ctx, meta, ino, Source::kCacheOrStore, false));
  Attributes& attr = seen.attr;
  if (attr.type == FileType::kSymlink) return Error(EOPNOTSUPP, "symbolic links have no ACLs");
  SKERRY_ASSIGN(std::shared_ptr<const Acl> acl, load_acl(ctx, meta, kind, &attr));
  if (acl == nullptr) return Error(ENODATA);
  if (kind == AclKind::kDefault) return acl->encode();
  Acl shown = *acl;
  shown.set_mode_bits(attr.mode);
  return shown.encode();
}

}  // namespace skerry::meta::internal
