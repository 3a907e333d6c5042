// ACLs, inode flags and capabilities at the C ABI.
#include <sys/stat.h>

#include <cstring>

#include "support.h"
#include "support/acl_text.h"

namespace {

constexpr char kAccess[] = "system.posix_acl_access";
constexpr char kDefault[] = "system.posix_acl_default";

int set_acl(Client& v, const char* path, const char* name, const char* text) {
  const std::string value = skerry::acl(text);
  return skerry_setxattr(v, nullptr, path, name, value.data(), value.size(), 0);
}

std::string get_acl(Client& v, const char* path, const char* name) {
  char value[1024];
  const int64_t size = skerry_getxattr(v, nullptr, path, name, value, sizeof value, 0);
  if (size < 0) return strerrorname_np(static_cast<int>(-size));
  return skerry::acl_text({value, static_cast<size_t>(size)});
}

}  // namespace

TEST_CASE("permissions: ACLs decide on paths, opens and batches", "[capi][acl]") {
  TestVolume test;
  Client& v = test.client;
  OK(skerry_mkdir(v, nullptr, "/d", 0700));
  v.write("/d/f", "data");
  OK(skerry_chmod(v, nullptr, "/d/f", 0600));
  skerry_context user = context_of(1000, 1000);
  struct skerry_stat stat;
  FAILS(skerry_stat(v, &user, "/d/f", &stat), EACCES);
  OK(set_acl(v, "/d", kAccess, "u::rwx,u:1000:x,g::-,m::x,o::-"));
  OK(skerry_stat(v, &user, "/d/f", &stat));
  OK(skerry_stat(v, &user, "/d/./f", &stat));
  OK(skerry_stat(v, &user, "/d/../d/f", &stat));
  FAILS(skerry_access(v, &user, "/d/f", 4), EACCES);
  skerry_file* file = nullptr;
  FAILS(skerry_open(v, &user, "/d/f", O_RDONLY, 0, &file), EACCES);
  OK(set_acl(v, "/d/f", kAccess, "u::rw,u:1000:rw,g::-,m::r,o::-"));
  OK(skerry_access(v, &user, "/d/f", 4));
  FAILS(skerry_access(v, &user, "/d/f", 2), EACCES);
  OK(skerry_open(v, &user, "/d/f", O_RDONLY, 0, &file));
  OK(skerry_close(file, nullptr));
  FAILS(skerry_open(v, &user, "/d/f", O_RDWR, 0, &file), EACCES);
  FAILS(skerry_write_file(v, &user, "/d/f", "x", 1, 0), EACCES);
  FAILS(skerry_truncate(v, &user, "/d/f", 1), EACCES);
  OK(skerry_chmod(v, nullptr, "/d/f", 0660));
  OK(skerry_write_file(v, &user, "/d/f", "x", 1, 0));
  char byte;
  CHECK(skerry_read_file(v, &user, "/d/f", &byte, 1) == 1);
  const char* path = "/d/f";
  int result = 0;
  CHECK(skerry_stat_batch(v, &user, &path, 1, 0, &stat, &result) == 1);
  FAILS(set_acl(v, "/d/f", kAccess, "u::rw,u:1000:rw,g::-,o::-"), EINVAL);
  CHECK(get_acl(v, "/d/f", kDefault) == "ENODATA");
}

TEST_CASE("permissions: what stat tells of extended attributes", "[capi][acl][xattr]") {
  TestVolume test;
  Client& v = test.client;
  v.write("/f", "data");
  auto plain = [&] { return (v.stat("/f").attributes & SKERRY_ATTR_NO_XATTRS) != 0; };
  CHECK(plain());
  OK(set_acl(v, "/f", kAccess, "u::rw,u:1:r,g::r,m::r,o::-"));
  CHECK_FALSE(plain());
  OK(skerry_removexattr(v, nullptr, "/f", kAccess, 0));
  CHECK(plain());
  OK(skerry_setxattr(v, nullptr, "/f", "user.a", "1", 1, 0));
  CHECK_FALSE(plain());
}

TEST_CASE("permissions: writes take capabilities and set-id bits away", "[capi][xattr]") {
  TestVolume test;
  Client& v = test.client;
  v.write("/f", "data");
  v.write("/source", "source");
  skerry_context user = context_of(1000, 1000);
  auto give = [&] {
    OK(skerry_chown(v, nullptr, "/f", 1000, 1000));
    OK(skerry_chmod(v, nullptr, "/f", 06747));
    OK(skerry_setxattr(v, nullptr, "/f", "security.capability", "cap", 3, 0));
  };
  auto mode_without_capability = [&]() -> uint32_t {
    char value[8];
    const int64_t size =
        skerry_getxattr(v, nullptr, "/f", "security.capability", value, sizeof value, 0);
    CHECK(size == -ENODATA);
    return v.stat("/f").mode & 07777;
  };
  auto with_file = [&](const skerry_context* who, auto body) {
    skerry_file* file = nullptr;
    OK(skerry_open(v, who, "/f", O_RDWR, 0, &file));
    body(file);
    OK(skerry_close(file, who));
  };
  // Set-group-ID without group execution stays.
  give();
  with_file(&user, [&](skerry_file* file) { CHECK(skerry_pwrite(file, &user, "x", 1, 0) == 1); });
  CHECK(mode_without_capability() == 02747);
  give();
  with_file(&user, [&](skerry_file* file) { OK(skerry_ftruncate(file, &user, 2)); });
  CHECK(mode_without_capability() == 02747);
  give();
  with_file(&user, [&](skerry_file* file) {
    OK(skerry_fallocate(file, &user, SKERRY_FALLOC_ZERO_RANGE, 0, 1));
  });
  CHECK(mode_without_capability() == 02747);
  // Also where no byte changes.
  for (uint32_t mode :
       {0u, SKERRY_FALLOC_KEEP_SIZE, SKERRY_FALLOC_KEEP_SIZE | SKERRY_FALLOC_PUNCH_HOLE}) {
    give();
    with_file(&user, [&](skerry_file* file) {
      OK(skerry_fallocate(file, &user, mode, mode == 0 ? 0 : 1'000'000, 1));
    });
    CHECK(mode_without_capability() == 02747);
  }
  give();
  with_file(&user, [&](skerry_file* file) {
    skerry_file* source = v.open("/source", O_RDONLY);
    CHECK(skerry_copy_file_range(source, 0, file, 0, 6, &user) == 6);
    OK(skerry_close(source, nullptr));
  });
  CHECK(mode_without_capability() == 02747);
  give();
  OK(skerry_truncate(v, &user, "/f", 0));
  CHECK(mode_without_capability() == 02747);
  give();
  OK(skerry_write_file(v, &user, "/f", "whole", 5, 0));
  CHECK(mode_without_capability() == 02747);
  // An outsider takes set-group-ID away in any case; members are whoever has the group.
  skerry_context outsider = context_of(2000, 2000), member = outsider;
  const uint32_t groups[] = {7, 1000};
  member.groups = groups;
  member.group_count = 2;
  for (const auto& expected : {std::pair{&outsider, 0767u}, std::pair{&member, 02767u}}) {
    const skerry_context* const who = expected.first;
    const uint32_t after = expected.second;
    give();
    OK(skerry_chmod(v, nullptr, "/f", 06767));
    with_file(who, [&](skerry_file* file) { CHECK(skerry_pwrite(file, who, "x", 1, 0) == 1); });
    CHECK(mode_without_capability() == after);
    give();
    OK(skerry_chmod(v, nullptr, "/f", 06767));
    OK(skerry_truncate(v, who, "/f", 1));
    CHECK(mode_without_capability() == after);
    give();
    OK(skerry_chmod(v, nullptr, "/f", 06767));
    with_file(who, [&](skerry_file* file) {
      OK(skerry_fallocate(file, who, SKERRY_FALLOC_KEEP_SIZE, 0, 1));
    });
    CHECK(mode_without_capability() == after);
    give();
    OK(skerry_chmod(v, nullptr, "/f", 06767));
    OK(skerry_write_file(v, who, "/f", "whole", 5, 0));
    CHECK(mode_without_capability() == after);
  }
  // So does an owner who leaves the group of a file that he is not in.
  OK(skerry_chown(v, nullptr, "/f", 2000, 1000));
  OK(skerry_chmod(v, nullptr, "/f", 02666));
  OK(skerry_chown(v, &outsider, "/f", UINT32_MAX, 2000));
  CHECK((v.stat("/f").mode & 07777) == 0666);
  // Root keeps the bits and loses the capability.
  give();
  with_file(nullptr,
            [&](skerry_file* file) { CHECK(skerry_pwrite(file, nullptr, "x", 1, 0) == 1); });
  CHECK(mode_without_capability() == 06747);
  give();
  OK(skerry_write_file(v, nullptr, "/f", "whole", 5, 0));
  CHECK(mode_without_capability() == 06747);
  give();
  OK(skerry_chown(v, nullptr, "/f", 1001, 1000));
  CHECK(mode_without_capability() == 02747);
  FAILS(skerry_setxattr(v, &user, "/f", "security.capability", "cap", 3, 0), EPERM);
}

TEST_CASE("permissions: inode flags", "[capi][flags]") {
  TestVolume test;
  Client& v = test.client;
  v.write("/f", "data");
  skerry_file* before = v.open("/f", O_RDWR);
  FAILS(skerry_setflags(v, nullptr, "/f", 0x40), ENOTSUP);
  OK(skerry_setflags(v, nullptr, "/f", SKERRY_ATTR_IMMUTABLE));
  CHECK((v.stat("/f").attributes & 0x30) == SKERRY_ATTR_IMMUTABLE);
  skerry_context user = context_of(1000, 1000);
  FAILS(skerry_setflags(v, &user, "/f", 0), EPERM);
  skerry_file* file = nullptr;
  for (int flags : {O_WRONLY, O_RDWR, O_RDWR | O_APPEND, O_RDONLY | O_TRUNC}) {
    FAILS(skerry_open(v, nullptr, "/f", flags, 0, &file), EPERM);
  }
  FAILS(skerry_access(v, nullptr, "/f", 2), EPERM);
  FAILS(skerry_truncate(v, nullptr, "/f", 0), EPERM);
  FAILS(skerry_write_file(v, nullptr, "/f", "x", 1, 0), EPERM);
  FAILS(skerry_unlink(v, nullptr, "/f"), EPERM);
  FAILS(skerry_rename(v, nullptr, "/f", "/g"), EPERM);
  FAILS(skerry_link(v, nullptr, "/f", "/g"), EPERM);
  FAILS(skerry_chmod(v, nullptr, "/f", 0600), EPERM);
  FAILS(skerry_utimens(v, nullptr, "/f", nullptr), EPERM);
  CHECK(v.read("/f") == "data");
  // Who had it open writes on, and does nothing else.
  CHECK(skerry_pwrite(before, nullptr, "D", 1, 0) == 1);
  FAILS(skerry_ftruncate(before, nullptr, 0), EPERM);
  FAILS(skerry_fallocate(before, nullptr, 0, 0, 100), EPERM);
  FAILS(skerry_copy_file_range(before, 0, before, 2, 2, nullptr), EPERM);
  OK(skerry_fsetflags(before, nullptr, SKERRY_ATTR_APPEND));
  FAILS(skerry_ftruncate(before, nullptr, 0), EPERM);
  FAILS(skerry_fallocate(before, nullptr, SKERRY_FALLOC_ZERO_RANGE, 0, 100), EPERM);
  OK(skerry_close(before, nullptr));
  CHECK(v.read("/f") == "Data");

  for (int flags : {O_WRONLY, O_RDWR, O_RDWR | O_APPEND | O_TRUNC, O_RDONLY | O_TRUNC}) {
    FAILS(skerry_open(v, nullptr, "/f", flags, 0, &file), EPERM);
  }
  FAILS(skerry_truncate(v, nullptr, "/f", 0), EPERM);
  FAILS(skerry_write_file(v, nullptr, "/f", "x", 1, 0), EPERM);
  OK(skerry_open(v, nullptr, "/f", O_WRONLY | O_APPEND, 0, &file));
  CHECK(skerry_pwrite(file, nullptr, "more", 4, 0) == 4);
  OK(skerry_close(file, nullptr));
  CHECK(v.read("/f") == "Datamore");
  OK(skerry_utimens(v, nullptr, "/f", nullptr));

  // By number, with other attributes.
  struct skerry_stat stat = v.stat("/f");
  skerry_setattr set = {};
  set.struct_size = sizeof set;
  set.valid = SKERRY_SET_FLAGS;
  OK(skerry_inode_setattr(v, nullptr, stat.ino, &set, &stat));
  CHECK((stat.attributes & 0x30) == 0);
  OK(skerry_unlink(v, nullptr, "/f"));
}
