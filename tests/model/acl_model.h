// acl(5) for the reference tree, written anew: ACLs are the bytes that setxattr(2) takes.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "model/namespace_model.h"

namespace skerry::model {

inline constexpr char kAccessAcl[] = "system.posix_acl_access";
inline constexpr char kDefaultAcl[] = "system.posix_acl_default";

/// Well-formed ACLs only.
struct ModelAcl {
  explicit ModelAcl(const std::string& bytes);
  std::string bytes() const;
  /// More than what a mode can say.
  bool extended() const { return has_mask; }
  uint32_t mode() const { return owner << 6 | (has_mask ? mask : group) << 3 | other; }
  void narrow(uint32_t mode);
  void follow(uint32_t mode);

  uint32_t owner = 0, group = 0, mask = 0, other = 0;
  bool has_mask = false;
  std::map<uint32_t, uint32_t> users, groups;
};

/// What `inode`, which has an access ACL, grants to who is neither root nor its owner.
bool acl_permits(const Credentials& who, const ModelInode& inode, unsigned access);
/// What getxattr(2) tells of `name`.
std::string shown_xattr(const ModelInode& inode, const std::string& name);
/// `mode` and `xattrs`, what a file of `type` asked for with `mode` gets in a directory whose
/// default ACL is not empty.
void inherit(const std::string& default_acl, FileType type, uint32_t* mode,
             std::map<std::string, std::string>* xattrs);

}  // namespace skerry::model
