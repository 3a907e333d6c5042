// ACLs as the other operations need them.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "meta/acl.h"
#include "meta/meta.h"
#include "meta/ops/common.h"

namespace skerry::meta::internal {

/// The ACL of the inode that `attr` describes. Null if it has none; then, or where the inode has
/// changed since, `*attr` becomes what it is now (without what its children changed). No store call
/// if the ACL of this version is known. ESTALE if the inode is gone.
Result<std::shared_ptr<const Acl>> load_acl(const OpContext& ctx, Meta& meta, AclKind kind,
                                            Attributes* attr);

/// What `attr`, an inode about to be made with the mode its maker asked for, becomes in a directory
/// with the default ACL `inherited`; adds the ACLs it gets.
void inherit_acls(const std::shared_ptr<const Acl>& inherited, Meta& meta, Attributes* attr,
                  Change* change);

/// The ACLs as extended attributes: acl(5), setxattr(2). Removing one that is not there succeeds.
Status set_acl(const OpContext& ctx, Meta& meta, Ino ino, AclKind kind, std::string_view encoded);
Result<std::string> get_acl(const OpContext& ctx, Meta& meta, Ino ino, AclKind kind);

}  // namespace skerry::meta::internal
