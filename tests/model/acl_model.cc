#include "model/acl_model.h"

#include <cstring>

namespace skerry::model {

ModelAcl::ModelAcl(const std::string& bytes) {
  for (size_t at = 4; at + 8 <= bytes.size(); at += 8) {
    uint16_t tag = 0, bits = 0;
    uint32_t id = 0;
    std::memcpy(&tag, bytes.data() + at, 2);
    std::memcpy(&bits, bytes.data() + at + 2, 2);
    std::memcpy(&id, bytes.data() + at + 4, 4);
    if (tag == 1) owner = bits;
    if (tag == 2) users[id] = bits;
    if (tag == 4) group = bits;
    if (tag == 8) groups[id] = bits;
    if (tag == 16) mask = bits;
    if (tag == 16) has_mask = true;
    if (tag == 32) other = bits;
  }
}

std::string ModelAcl::bytes() const {
  std::string out("\2\0\0\0", 4);
  auto add = [&](uint16_t tag, uint32_t bits, uint32_t id = UINT32_MAX) {
    const auto access = static_cast<uint16_t>(bits);
    out.append(reinterpret_cast<const char*>(&tag), 2);
    out.append(reinterpret_cast<const char*>(&access), 2);
    out.append(reinterpret_cast<const char*>(&id), 4);
  };
  add(1, owner);
  for (auto [id, bits] : users) add(2, bits, id);
  add(4, group);
  for (auto [id, bits] : groups) add(8, bits, id);
  if (has_mask) add(16, mask);
  add(32, other);
  return out;
}

void ModelAcl::narrow(uint32_t mode) {
  owner &= mode >> 6;
  (has_mask ? mask : group) &= mode >> 3;
  other &= mode;
}

void ModelAcl::follow(uint32_t mode) {
  owner = mode >> 6 & 7;
  (has_mask ? mask : group) = mode >> 3 & 7;
  other = mode & 7;
}

bool acl_permits(const Credentials& who, const ModelInode& inode, unsigned access) {
  ModelAcl acl(inode.xattrs.at(kAccessAcl));
  acl.follow(inode.mode);
  if (auto user = acl.users.find(who.uid); user != acl.users.end()) {
    return (access & ~(user->second & acl.mask)) == 0;
  }
  bool member = who.in_group(inode.gid);
  bool granted = member && (access & ~(acl.group & acl.mask)) == 0;
  for (auto [gid, bits] : acl.groups) {
    if (!who.in_group(gid)) continue;
    member = true;
    granted = granted || (access & ~(bits & acl.mask)) == 0;
  }
  return member ? granted : (access & ~acl.other) == 0;
}

std::string shown_xattr(const ModelInode& inode, const std::string& name) {
  const std::string& value = inode.xattrs.at(name);
  if (name != kAccessAcl) return value;
  ModelAcl acl(value);
  acl.follow(inode.mode);
  return acl.bytes();
}

void inherit(const std::string& default_acl, FileType type, uint32_t* mode,
             std::map<std::string, std::string>* xattrs) {
  ModelAcl acl(default_acl);
  acl.narrow(*mode);
  *mode = (*mode & ~0777u) | acl.mode();
  if (acl.extended()) (*xattrs)[kAccessAcl] = acl.bytes();
  if (type == FileType::kDirectory) (*xattrs)[kDefaultAcl] = default_acl;
}

}  // namespace skerry::model
