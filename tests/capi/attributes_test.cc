// Mode, owner, times, extended attributes.
#include <sys/stat.h>

#include <cstring>

#include "support.h"

TEST_CASE("attributes: mode, owner and their rules", "[capi][attributes]") {
  TestVolume test;
  Client& v = test.client;
  v.write("/f", "data");
  OK(skerry_chmod(v, nullptr, "/f", 04755));
  CHECK(v.stat("/f").mode == (S_IFREG | 04755));
  OK(skerry_chown(v, nullptr, "/f", 1000, 1000));
  skerry_context owner = context_of(1000, 1000);
  skerry_context other = context_of(2000, 2000);
  FAILS(skerry_chmod(v, &other, "/f", 0777), EPERM);
  OK(skerry_chmod(v, &owner, "/f", 0640));
  FAILS(skerry_chown(v, &owner, "/f", 2000, UINT32_MAX), EPERM);
  OK(skerry_chown(v, nullptr, "/f", UINT32_MAX, 7));
  CHECK(v.stat("/f").uid == 1000);
  CHECK(v.stat("/f").gid == 7);
  FAILS(skerry_access(v, &other, "/f", 4), EACCES);
  OK(skerry_access(v, &owner, "/f", 6));
  FAILS(skerry_access(v, &owner, "/f", 1), EACCES);
  FAILS(skerry_access(v, &owner, "/none", 0), ENOENT);
  FAILS(skerry_access(v, nullptr, "/f", 8), EINVAL);
  OK(skerry_symlink(v, nullptr, "f", "/l"));
  OK(skerry_lchown(v, nullptr, "/l", 9, 9));
  CHECK(v.stat("/l").uid == 9);
  CHECK(v.stat("/f").uid == 1000);
  FAILS(skerry_fchmodat(v, nullptr, nullptr, "/l", 0600, SKERRY_AT_SYMLINK_NOFOLLOW), ENOTSUP);
  skerry_file* file = v.open("/f", O_RDONLY);
  OK(skerry_fchmod(file, nullptr, 0600));
  OK(skerry_fchown(file, nullptr, 1, 2));
  CHECK(v.stat("/f").mode == (S_IFREG | 0600));
  CHECK(v.stat("/f").gid == 2);
  OK(skerry_close(file, nullptr));
}

TEST_CASE("attributes: umask and group inheritance", "[capi][attributes]") {
  TestVolume test;
  Client& v = test.client;
  OK(skerry_mkdir(v, nullptr, "/d", 0777));
  OK(skerry_chown(v, nullptr, "/d", 0, 50));
  OK(skerry_chmod(v, nullptr, "/d", 02777));
  skerry_context user = context_of(1000, 1000);
  user.umask = 027;
  OK(skerry_mkdir(v, &user, "/d/sub", 0777));
  CHECK(v.stat("/d/sub").mode == (S_IFDIR | 02750));
  CHECK(v.stat("/d/sub").gid == 50);
  OK(skerry_write_file(v, &user, "/d/f", "x", 1, 0666));
  CHECK(v.stat("/d/f").mode == (S_IFREG | 0640));
  CHECK(v.stat("/d/f").uid == 1000);
  OK(skerry_symlink(v, &user, "x", "/d/l"));
  CHECK((v.stat("/d/l").mode & 0777) == 0777);
}

TEST_CASE("attributes: a write by another drops set-user-id", "[capi][attributes]") {
  TestVolume test;
  Client& v = test.client;
  v.write("/f", "data");
  OK(skerry_chmod(v, nullptr, "/f", 04777));
  skerry_context user = context_of(1000, 1000);
  skerry_file* file = nullptr;
  OK(skerry_open(v, &user, "/f", O_WRONLY, 0, &file));
  OK(skerry_pwrite(file, &user, "x", 1, 0));
  OK(skerry_close(file, &user));
  CHECK(v.stat("/f").mode == (S_IFREG | 0777));
  OK(skerry_chmod(v, nullptr, "/f", 04777));
  OK(skerry_write_file(v, &user, "/f", "y", 1, 0));
  CHECK(v.stat("/f").mode == (S_IFREG | 0777));
}

TEST_CASE("attributes: times", "[capi][attributes]") {
  TestVolume test;
  Client& v = test.client;
  v.write("/f", "data");
  skerry_timespec times[2] = {{1'000'000'000, 5, 0}, {-1, 999'999'999, 0}};
  OK(skerry_utimens(v, nullptr, "/f", times));
  struct skerry_stat st = v.stat("/f");
  CHECK(st.atime.sec == 1'000'000'000);
  CHECK(st.atime.nsec == 5);
  CHECK(st.mtime.sec == -1);
  CHECK(st.mtime.nsec == 999'999'999);
  times[0].nsec = SKERRY_UTIME_OMIT;
  times[1].nsec = SKERRY_UTIME_NOW;
  OK(skerry_utimens(v, nullptr, "/f", times));
  CHECK(v.stat("/f").atime.sec == 1'000'000'000);
  CHECK(v.stat("/f").mtime.sec > 1'600'000'000);
  times[1].nsec = 1'000'000'000;
  FAILS(skerry_utimens(v, nullptr, "/f", times), EINVAL);
  skerry_context other = context_of(2000, 2000);
  FAILS(skerry_utimens(v, &other, "/f", nullptr), EACCES);
  times[0] = times[1] = {5, 0, 0};
  FAILS(skerry_utimens(v, &other, "/f", times), EPERM);
  OK(skerry_symlink(v, nullptr, "f", "/l"));
  OK(skerry_utimensat(v, nullptr, nullptr, "/l", times, SKERRY_AT_SYMLINK_NOFOLLOW));
  CHECK(v.stat("/l").mtime.sec == 5);
  // Set after a write that is not flushed, they stay.
  skerry_file* file = v.open("/f", O_RDWR);
  OK(skerry_pwrite(file, nullptr, "more", 4, 4));
  OK(skerry_futimens(file, nullptr, times));
  OK(skerry_close(file, nullptr));
  CHECK(v.stat("/f").mtime.sec == 5);
  CHECK(v.stat("/f").size == 8);
}

TEST_CASE("attributes: extended", "[capi][attributes][xattr]") {
  TestVolume test;
  Client& v = test.client;
  v.write("/f", "data");
  char value[16];
  OK(skerry_setxattr(v, nullptr, "/f", "user.one", "1", 1, 0));
  FAILS(skerry_setxattr(v, nullptr, "/f", "user.one", "2", 1, SKERRY_XATTR_CREATE), EEXIST);
  FAILS(skerry_setxattr(v, nullptr, "/f", "user.two", "2", 1, SKERRY_XATTR_REPLACE), ENODATA);
  OK(skerry_setxattr(v, nullptr, "/f", "user.empty", nullptr, 0, 0));
  CHECK(skerry_getxattr(v, nullptr, "/f", "user.one", value, sizeof value, 0) == 1);
  CHECK(skerry_getxattr(v, nullptr, "/f", "user.one", nullptr, 0, 0) == 1);
  CHECK(skerry_getxattr(v, nullptr, "/f", "user.empty", value, sizeof value, 0) == 0);
  FAILS(skerry_getxattr(v, nullptr, "/f", "user.none", value, sizeof value, 0), ENODATA);
  OK(skerry_setxattr(v, nullptr, "/f", "user.long", "0123456789abcdefgh", 18, 0));
  FAILS(skerry_getxattr(v, nullptr, "/f", "user.long", value, sizeof value, 0), ERANGE);
  char list[64];
  const int64_t length = skerry_listxattr(v, nullptr, "/f", nullptr, 0, 0);
  CHECK(length == 9 + 11 + 10);
  CHECK(skerry_listxattr(v, nullptr, "/f", list, sizeof list, 0) == length);
  FAILS(skerry_listxattr(v, nullptr, "/f", list, 5, 0), ERANGE);
  OK(skerry_removexattr(v, nullptr, "/f", "user.one", 0));
  FAILS(skerry_removexattr(v, nullptr, "/f", "user.one", 0), ENODATA);
  FAILS(skerry_setxattr(v, nullptr, "/f", "", "1", 1, 0), ERANGE);
  FAILS(skerry_setxattr(v, nullptr, "/f", "bad.name", "1", 1, 0), ENOTSUP);
  FAILS(skerry_setxattr(v, nullptr, "/f", std::string(256, 'u').c_str(), "1", 1, 0), ERANGE);
  const std::string big(65537, 'x');
  FAILS(skerry_setxattr(v, nullptr, "/f", "user.big", big.data(), big.size(), 0), E2BIG);
  OK(skerry_setxattr(v, nullptr, "/f", "user.big", big.data(), 65536, 0));
  skerry_file* file = v.open("/f", O_RDWR);
  OK(skerry_fsetxattr(file, nullptr, "user.f", "f", 1, 0));
  CHECK(skerry_fgetxattr(file, nullptr, "user.f", value, sizeof value) == 1);
  CHECK(skerry_flistxattr(file, nullptr, nullptr, 0) > 0);
  OK(skerry_fremovexattr(file, nullptr, "user.f"));
  OK(skerry_close(file, nullptr));
}
