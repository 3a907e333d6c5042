// Any bytes are an ACL that is encoded as it was and goes with a mode, or are refused.
#include "meta/acl.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using skerry::meta::Acl;
  auto acl = Acl::parse({reinterpret_cast<const char*>(data), size});
  if (!acl.ok() || acl->empty()) return 0;
  auto again = Acl::parse(acl->encode());
  if (!again.ok() || again->entries() != acl->entries()) abort();
  for (uint32_t mode : {0u, 0127u, 0640u, 0777u}) {
    acl->set_mode_bits(mode);
    if (acl->mode_bits() != mode) abort();
    Acl narrowed = *again;
    if (narrowed.inherit(mode) != (again->mode_bits() & mode)) abort();
    skerry::Credentials who;
    who.uid = who.gid = mode;
    skerry::meta::Attributes attr;
    attr.mode = mode;
    if (acl->grants(who, attr, 7) && !acl->grants(who, attr, 4)) abort();
  }
  return 0;
}
